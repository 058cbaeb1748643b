// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/version.hpp"

#include <memory>

#include <nlohmann/json.hpp>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"

namespace insight::cli {

namespace {

int version(bool json, Terminal& out) {
  const std::string number(insight::version()), source(insight::revision());
  if (json) {
    out.raw(nlohmann::ordered_json{{"version", number}, {"revision", source}}.dump() + "\n");
  } else {
    out.line("insightctl " + number + " (" + source + ")");
  }
  return kDone;
}

}  // namespace

Command version_command() {
  const auto json = std::make_shared<bool>(false);
  return {.name = "version",
          .does = "What this is",
          .examples = {"insightctl version"},
          .arguments = {{.name = "--json", .does = "JSON instead of text", .target = json.get()}},
          .run = [json](Terminal& out) { return version(*json, out); }};
}

}  // namespace insight::cli
