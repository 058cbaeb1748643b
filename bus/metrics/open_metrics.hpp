// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace insight {

/// "x" for "x_total", the name of a counter's family in OpenMetrics; any other name as it is.
std::string_view without_total(std::string_view name) noexcept;

/// The unit that a name of the bus's own ends with, or nothing.
std::string_view unit_of(std::string_view name) noexcept;

/// The text of prometheus-cpp as OpenMetrics, without the end.  Of metrics that are named as the
/// bus names its own only the headers differ, and the bounds of buckets that are whole numbers.
std::string to_open_metrics(std::string_view text);

}  // namespace insight
