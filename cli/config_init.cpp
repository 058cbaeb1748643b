// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/text.hpp"
#include "bus/broker/config_keys.hpp"
#include "bus/broker/config_print.hpp"
#include "bus/pipeline/sink_plugin.hpp"
#include "cli/config_commands.hpp"
#include "cli/exit_code.hpp"

namespace insight::cli {

namespace {

constexpr size_t kHelpColumn = 48;

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> out;
  while (true) {
    const size_t comma = text.find(',');
    out.push_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return out;
    text.remove_prefix(comma + 1);
  }
}

/// The names of one side of the spec, each known and there once; complains otherwise.
bool are_known(const std::vector<std::string_view>& names,
               const std::vector<std::string_view>& known, const char* kind) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (std::ranges::find(known, names[i]) == known.end()) {
      std::string all;
      for (std::string_view each : known) all += (all.empty() ? "" : ", ") + std::string(each);
      const std::string_view near = nearest(names[i], known);
      complain(
          "no " + std::string(kind) + " \"" + std::string(names[i]) + "\" is built in" +
          (near.empty() ? "; known: " + all : ", did you mean \"" + std::string(near) + "\"?"));
      return false;
    }
    if (std::ranges::find(names.begin(), names.begin() + static_cast<ptrdiff_t>(i), names[i]) !=
        names.begin() + static_cast<ptrdiff_t>(i)) {
      complain("the " + std::string(kind) + " \"" + std::string(names[i]) +
               "\" stands there twice");
      return false;
    }
  }
  return true;
}

/// How the default of a key is written; a type that needs an example has one.
std::string preset_of(const ConfigKey& key) {
  const bool is_quoted =
      key.type == "string" || key.type == "path" || key.type == "size" || key.type == "duration";
  if (!key.preset.empty()) return is_quoted ? toml_quoted(key.preset) : std::string(key.preset);
  if (key.type == "path") return "\"PATH\"";
  if (key.type == "string") return "\"TEXT\"";
  if (key.type == "strings") return "[\"TEXT\"]";
  if (key.type == "table of strings") return "{ NAME = \"TEXT\" }";
  if (key.type == "table of numbers") return "{ NAME = 1.0 }";
  return key.type == "table" ? "{}" : std::string(key.type);
}

/// "# key = default      # help", for every key that is not in the text already.
std::string commented(std::span<const ConfigKey> keys, std::string_view already) {
  std::string out;
  for (const ConfigKey& key : keys) {
    // `rotate.bytes` stands there as it is, or inside of `rotate = {`.
    const auto stands_there = [&](std::string_view name) {
      const std::string text = std::string(name) + " =";
      return already.find("\n" + text) != std::string_view::npos ||
             already.find("\n# " + text) != std::string_view::npos;
    };
    if (stands_there(key.name) || stands_there(key.name.substr(0, key.name.find('.')))) continue;
    std::string line = "# " + std::string(key.name) + " = " + preset_of(key);
    line.resize(std::max(line.size() + 1, kHelpColumn), ' ');
    out += line + "# " + std::string(key.help) + "\n";
  }
  return out;
}

std::string sink_text(const SinkPlugin& plugin) {
  std::string text(plugin.sample_config);
  if (!text.ends_with('\n')) text += '\n';
  std::string signals;
  for (const Signal signal : plugin.signals) {
    signals += (signals.empty() ? "" : ", ") + toml_quoted(to_string(signal));
  }
  signals = "[" + signals + "]";
  std::vector<ConfigKey> keys(plugin.keys.begin(), plugin.keys.end());
  for (ConfigKey key : config_keys("sinks.<name>")) {
    if (key.name == "type") key.preset = plugin.name;
    if (key.name == "signals") key.preset = signals;
    keys.push_back(key);
  }
  return text + commented(keys, text);
}

std::string config_text(const std::vector<std::string_view>& collectors,
                        const std::vector<const SinkPlugin*>& sinks) {
  std::string out =
      "# A configuration of Insight Bus.  What is commented out says what holds without it.\n"
      "# Check it: insightctl config check FILE.  Run it: insightctl bus run --config FILE.\n";
  for (const ConfigSection& section : config_sections()) {
    if (section.name.find('.') != std::string_view::npos) continue;
    out += "\n[" + std::string(section.name) + "]\n" + commented(section.keys, "");
  }
  for (std::string_view type : collectors) {
    const std::string head = "\ntype = " + toml_quoted(type) + "\n";
    out += "\n[collectors.bus]" + head + commented(config_keys("collectors.<name>"), head);
  }
  for (const SinkPlugin* sink : sinks) out += "\n" + sink_text(*sink);
  return out;
}

int config_init(const std::string& spec, Terminal& out) {
  const size_t slash = spec.find('/');
  if (slash == std::string::npos) {
    complain("\"" + spec + "\": expected COLLECTOR/SINK,SINK, such as zmq/prometheus,file");
    return kWrongUse;
  }
  const auto collectors = split(std::string_view(spec).substr(0, slash));
  const auto names = split(std::string_view(spec).substr(slash + 1));
  const auto types = collector_types();
  std::vector<std::string_view> known;
  for (const SinkPlugin* plugin : sink_plugins()) known.push_back(plugin->name);
  if (!are_known(collectors, {types.begin(), types.end()}, "collector") ||
      !are_known(names, known, "sink")) {
    return kWrongUse;
  }
  std::vector<const SinkPlugin*> sinks;
  for (std::string_view name : names) {
    sinks.push_back(*std::ranges::find(sink_plugins(), name, &SinkPlugin::name));
  }
  out.raw(config_text(collectors, sinks));
  return kDone;
}

/// The collector and the sinks of the embedded default.
std::string default_spec() {
  std::string sinks;
  for (std::string_view name : {"prometheus", "file"}) {
    if (std::ranges::find(sink_plugins(), name, &SinkPlugin::name) == sink_plugins().end())
      continue;
    sinks += (sinks.empty() ? "" : ",") + std::string(name);
  }
  return std::string(collector_types().front()) + "/" + (sinks.empty() ? "null" : sinks);
}

}  // namespace

Command config_init_command() {
  const auto spec = std::make_shared<std::string>(default_spec());
  return {.name = "init",
          .does =
              "Prints a commented configuration to start from, with every key of the collectors "
              "and sinks that it names",
          .examples = {"insightctl config init > bus.toml", "insightctl config init zmq/null"},
          .arguments = {{.name = "spec",
                         .value = "SPEC",
                         .does = "COLLECTOR/SINK,SINK (" + *spec + ")",
                         .target = spec.get()}},
          .run = [spec](Terminal& out) { return config_init(*spec, out); }};
}

}  // namespace insight::cli
