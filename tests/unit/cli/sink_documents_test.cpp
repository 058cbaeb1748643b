// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <set>
#include <string>

#include <doctest/doctest.h>

#include "bus/pipeline/sink_plugin.hpp"

namespace insight {
namespace {

/// "| `key` | `"default"` |" of each row of the README's tables.
std::set<std::string> documented(const std::string& sink) {
  std::ifstream in(INSIGHT_SOURCE_ROOT "/sinks/" + sink + "/README.md");
  REQUIRE(in);
  std::set<std::string> rows;
  std::string line;
  bool is_keys = false;
  while (std::getline(in, line)) {
    if (line.starts_with("| key |")) is_keys = true;
    if (line.empty()) is_keys = false;
    if (!is_keys || !line.starts_with("| `")) continue;
    const size_t second = line.find(" | ") + 3;
    rows.insert(line.substr(0, line.find(" | ", second)));
  }
  return rows;
}

std::string as_written(const ConfigKey& key) {
  const bool is_bare = key.type == "integer" || key.type == "number" || key.type == "boolean" ||
                       key.type == "strings" || key.preset.empty();
  const std::string preset(key.preset);
  return is_bare ? preset : "\"" + preset + "\"";
}

}  // namespace

TEST_CASE("the README of each sink describes its keys and their defaults, and no others") {
  for (const SinkPlugin* plugin : sink_plugins()) {
    const std::string sink(plugin->name);
    CAPTURE(sink);
    std::set<std::string> keys;
    for (const ConfigKey& key : plugin->keys) {
      keys.insert("| `" + std::string(key.name) + "` | `" + as_written(key) + "`");
    }

    CHECK(documented(sink) == keys);
  }
}

}  // namespace insight
