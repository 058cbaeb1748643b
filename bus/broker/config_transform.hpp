// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "bus/broker/config_table.hpp"
#include "bus/pipeline/transform.hpp"

namespace insight {

/// Reads include, exclude, rename, prefix, labels and scale of a sink's table; reports what is
/// wrong.
TransformOptions read_transform(const ConfigTable& sink);

}  // namespace insight
