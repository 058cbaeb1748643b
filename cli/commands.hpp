// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/command.hpp"

/// The commands, one file each: the definition stands beside what it does.
namespace insight::cli {

Command bench_command();
Command bus_command();
Command completion_command();
Command components_command();
Command config_command();
Command emit_command();
Command man_command();
Command metrics_command();
Command publishers_command();
Command replay_command();
Command run_command();
Command status_command();
Command tap_command();
Command version_command();

/// The whole tree.
Command insightctl_command();

}  // namespace insight::cli
