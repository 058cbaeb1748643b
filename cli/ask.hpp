// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "cli/commands.hpp"

namespace insight::cli {

/// What the broker answered.
struct Answer {
  std::string body;
  nlohmann::json json;
};

/// Asks the broker of `options` for a path.  Without an answer it complains and sets `exit_code`.
std::optional<Answer> ask(const AskOptions& options, const std::string& path, int& exit_code);

}  // namespace insight::cli
