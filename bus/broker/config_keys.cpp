// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/config_keys.hpp"

#include <array>
#include <cassert>

namespace insight {

namespace {

constexpr std::array<ConfigKey, 4> kBrokerKeys{{
    {"name", "string", "", "what this broker is called; the host's name when it is not given"},
    {"state_dir", "path", "",
     "snapshots; `insight` in the XDG state directory (`~/.local/state`) when it is not given"},
    {"stop_timeout", "duration", "5s", "a stop takes at most that long; what is left is counted"},
    {"resource_labels", "strings", R"(["run", "role", "rank", "replica"])",
     "keys of a publisher's resource that become labels of its series"},
}};

constexpr std::array<ConfigKey, 2> kHttpKeys{{
    {"listen", "string", "127.0.0.1:9092", "HOST:PORT; `*` is every address, port 0 any free one"},
    {"insecure", "boolean", "false",
     "allows an address that other machines reach: anybody there can read"},
}};

constexpr std::array<ConfigKey, 3> kLimitKeys{{
    {"series", "integer", "1000000", "series in all; points of further ones are dropped"},
    {"series_per_metric", "integer", "100000", "series of one metric"},
    {"series_per_publisher", "integer", "20000", "series of one publisher"},
}};

constexpr std::array<ConfigKey, 3> kCollectorKeys{{
    {"type", "string", "", "`zmq`; the table's name when it is not given"},
    {"endpoints", "strings", R"(["tcp://127.0.0.1:5571", "ipc://{runtime_dir}/bus.ipc"])",
     "where publishers connect to: `tcp://HOST:PORT` or `ipc:///PATH`"},
    {"insecure", "boolean", "false",
     "allows an address that other machines reach: anybody there can write"},
}};

constexpr std::array<ConfigKey, 12> kSinkKeys{{
    {"type", "string", "", "which sink; the table's name when it is not given"},
    {"signals", "strings", "", "`metrics`, `spans`; all that the sink takes when it is not given"},
    {"include", "strings", "", "only metrics and spans of these names (`*`, `?`); all without it"},
    {"exclude", "strings", "", "no metrics and spans of these names; wins over `include`"},
    {"rename", "table of strings", "", "another name for a metric or span"},
    {"prefix", "string", "", "put before the names of metrics"},
    {"labels", "table of strings", "", "labels of every metric; an empty text removes the label"},
    {"scale", "table of numbers", "", "factors for values, by name (`*`, `?`); the first counts"},
    {"queue.bytes", "size", "64MiB", "of each signal; what comes beyond is dropped and counted"},
    {"retry.initial", "duration", "1s", "pause after the first failure; it doubles each time"},
    {"retry.max", "duration", "30s", "the longest pause"},
    {"retry.give_up_after", "duration", "10m", "a batch that fails for so long is dropped"},
}};

constexpr std::array<std::string_view, 1> kCollectorTypes{"zmq"};

constexpr std::array<ConfigSection, 5> kSections{{
    {"broker", kBrokerKeys},
    {"http", kHttpKeys},
    {"limits", kLimitKeys},
    {"collectors.<name>", kCollectorKeys},
    {"sinks.<name>", kSinkKeys},
}};

}  // namespace

std::span<const ConfigSection> config_sections() { return kSections; }

std::span<const std::string_view> collector_types() { return kCollectorTypes; }

std::span<const ConfigKey> config_keys(std::string_view section) {
  for (const ConfigSection& each : kSections) {
    if (each.name == section) return each.keys;
  }
  assert(false && "no such section");
  return {};
}

}  // namespace insight
