// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "bus/pipeline/sink_plugin.hpp"

namespace insight {

/// The tables of a configuration file and their keys: what is accepted, suggested and documented
/// (CONFIG.md).
struct ConfigSection {
  std::string_view name;  ///< "broker"; "collectors.<name>" where the user chooses the name
  std::span<const ConfigKey> keys;
};

std::span<const ConfigSection> config_sections();

/// The values of `type` in a table of [collectors].
std::span<const std::string_view> collector_types();

/// The keys of one section.
std::span<const ConfigKey> config_keys(std::string_view section);

}  // namespace insight
