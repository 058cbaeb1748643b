// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "bus/model/resource.hpp"
#include "bus/model/series.hpp"

/// What becomes a name and what becomes a label: two series whose exposed name and label text are
/// equal are one merged series.  Pure functions.
namespace insight {

/// `name` with every character that Prometheus does not allow in a metric's name replaced by `_`.
std::string metric_name(std::string_view name);

/// The same for a label's name; the prefix `__`, which is Prometheus' own, becomes `_`.
std::string label_name(std::string_view name);

/// What the shown name of every counter ends with.
inline constexpr std::string_view kTotal = "_total";

/// The name under which a family is shown: `metric_name`, for a counter with `_total` at its end.
std::string exposed_name(const Family& family);

/// The label that rendering adds itself: `le` of a histogram, `publisher` of a gauge that is shown
/// for each publisher, else none.
std::string_view reserved_label(Kind kind, GaugeMode mode) noexcept;

/// The text between the braces, sorted by name and escaped: the labels of the point, then those
/// keys of the resource in `resource_labels` that it has and the point does not.
///
/// An empty value is no label, as in Prometheus.  Of labels of a point whose names collapse the
/// values are joined with `;`.  A label with the name `reserved` is shown as `exported_<name>`.
std::string label_text(const Series& series, const Resource& resource,
                       std::span<const std::string> resource_labels, std::string_view reserved);

/// A hash of the name and the sorted labels as the publisher said them: which instrument of its
/// incarnation a series is, whatever its help, unit and bounds.
uint64_t instrument_hash(const Series& series, uint64_t key);

/// `text` as it stands in a label's value or, without escaped quotes, in a HELP line.
std::string escape_label(std::string_view text);
std::string escape_help(std::string_view text);

}  // namespace insight
