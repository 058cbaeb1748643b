// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/version.hpp"

#include <nlohmann/json.hpp>

#include "cli/commands.hpp"

namespace insight::cli {

int version(bool json, Terminal& out) {
  const std::string number(insight::version()), source(insight::revision());
  if (json) {
    out.raw(nlohmann::ordered_json{{"version", number}, {"revision", source}}.dump() + "\n");
  } else {
    out.line("insightctl " + number + " (" + source + ")");
  }
  return kDone;
}

}  // namespace insight::cli
