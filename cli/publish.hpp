// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/command.hpp"
#include <insight/insight.hpp>

namespace insight::cli {

/// Where a command publishes to, and as whom.
struct PublishOptions {
  std::string endpoint;  ///< empty: as any publisher finds its broker
  std::string run;
  std::string role;
  std::string rank;
};

/// `--endpoint`, `--run`, `--role` and `--rank`, followed by `more`.
std::vector<Argument> publish_arguments(PublishOptions& options, std::vector<Argument> more);

/// Complains when `--endpoint` is none.
bool is_endpoint_right(const PublishOptions& options);

/// The options of the library.
PublisherOptions publisher_options(const PublishOptions& options, std::string service);

/// "key=value" in its parts; nothing when there is no key.
std::optional<std::pair<std::string, std::string>> parse_label(std::string_view text);

}  // namespace insight::cli
