// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace insight {

std::string_view version();   ///< "0.1.0"
std::string_view revision();  ///< of the sources, "unknown" outside of a checkout

}  // namespace insight
