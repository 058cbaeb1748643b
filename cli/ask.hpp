// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/command.hpp"
#include "cli/exit_code.hpp"

namespace insight::cli {

/// Where the broker answers, and how the answer is shown.
struct AskOptions {
  std::string http;  ///< empty: INSIGHT_HTTP, else 127.0.0.1:9092
  bool json = false;
};

/// `--http` and `--json`, followed by `more`.
std::vector<Argument> ask_arguments(AskOptions& options, std::vector<Argument> more = {});

/// What the broker answered.
struct Answer {
  std::string body;
  nlohmann::json json;
};

/// Where the broker of `options` answers, "host:port".  When that is no address it complains and
/// sets `exit_code`.
std::optional<std::string> broker_address(const AskOptions& options, int& exit_code);

/// Asks the broker of `options` for a path.  Without an answer it complains and sets `exit_code`.
std::optional<Answer> ask(const AskOptions& options, const std::string& path, int& exit_code);

/// A member of an answer, or what stands for one that is missing or of another type: the broker may
/// be of another version.  Text comes without bytes that steer a terminal.
std::string text(const nlohmann::json& object, const char* key);
uint64_t count(const nlohmann::json& object, const char* key);
const nlohmann::json& member(const nlohmann::json& object, const char* key);

/// The sum of all whole numbers below.
uint64_t total(const nlohmann::json& tree);

}  // namespace insight::cli
