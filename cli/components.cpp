// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "bus/base/text.hpp"
#include "bus/broker/config_keys.hpp"
#include "bus/pipeline/sink_plugin.hpp"
#include "cli/commands.hpp"
#include "cli/exit_code.hpp"

namespace insight::cli {

namespace {

using nlohmann::ordered_json;

struct Component {
  const char* kind = "";
  std::string_view name;
  std::vector<std::string_view> signals;
  std::vector<ConfigKey> keys;
};

std::vector<Component> all_components() {
  std::vector<Component> out;
  const auto common = [](std::string_view section) {
    const auto keys = config_keys(section);
    return std::vector<ConfigKey>(keys.begin(), keys.end());
  };
  for (std::string_view type : collector_types()) {
    out.push_back({"collector", type, {"metrics", "spans"}, common("collectors.<name>")});
  }
  for (const SinkPlugin* plugin : sink_plugins()) {
    Component sink{"sink", plugin->name, {}, {plugin->keys.begin(), plugin->keys.end()}};
    for (Signal signal : plugin->signals) sink.signals.push_back(to_string(signal));
    const auto keys = common("sinks.<name>");
    sink.keys.insert(sink.keys.end(), keys.begin(), keys.end());
    out.push_back(std::move(sink));
  }
  return out;
}

ordered_json to_json(const Component& component) {
  ordered_json keys = ordered_json::array();
  for (const ConfigKey& key : component.keys) {
    ordered_json preset = nullptr;
    if (!key.preset.empty()) preset = key.preset;
    keys.push_back({{"name", key.name},
                    {"type", key.type},
                    {"default", std::move(preset)},
                    {"help", key.help}});
  }
  return {{"kind", component.kind},
          {"name", component.name},
          {"signals", component.signals},
          {"keys", std::move(keys)}};
}

void show(const Component& component, Terminal& out) {
  std::string signals;
  for (std::string_view signal : component.signals) {
    signals += (signals.empty() ? "" : ", ") + std::string(signal);
  }
  out.line(
      out.paint(Colour::bold, std::string(component.kind) + " " + std::string(component.name)) +
      ": " + signals);
  Table table{{{"  KEY"}, {"TYPE"}, {"DEFAULT"}, {"MEANING"}}, {}};
  for (const ConfigKey& key : component.keys) {
    table.rows.push_back({"  " + std::string(key.name), std::string(key.type),
                          key.preset.empty() ? "-" : std::string(key.preset),
                          std::string(key.help)});
  }
  table.print(out);
}

int components(const std::string& name, bool as_json, Terminal& out) {
  std::vector<Component> shown = all_components();
  if (!name.empty()) {
    std::vector<std::string_view> known;
    for (const Component& each : shown) known.push_back(each.name);
    std::erase_if(shown, [&](const Component& each) { return each.name != name; });
    if (shown.empty()) {
      const std::string_view near = nearest(name, known);
      complain("no collector or sink \"" + name + "\" is built in" +
               (near.empty() ? "; see insightctl components"
                             : ", did you mean \"" + std::string(near) + "\"?"));
      return kWrongUse;
    }
  }
  if (as_json) {
    ordered_json list = ordered_json::array();
    for (const Component& each : shown) list.push_back(to_json(each));
    out.raw(ordered_json{{"components", std::move(list)}}.dump(2) + "\n");
    return kDone;
  }
  for (size_t i = 0; i < shown.size(); ++i) {
    if (i > 0) out.line("");
    show(shown[i], out);
  }
  return kDone;
}

}  // namespace

Command components_command() {
  struct Options {
    std::string name;
    bool json = false;
  };

  const auto options = std::make_shared<Options>();
  return {
      .name = "components",
      .does = "The collectors and sinks that are built in, with the keys of their tables",
      .examples = {"insightctl components", "insightctl components file --json"},
      .arguments =
          {{.name = "name", .value = "NAME", .does = "only this one", .target = &options->name},
           {.name = "--json", .does = "JSON instead of text", .target = &options->json}},
      .run = [options](Terminal& out) { return components(options->name, options->json, out); }};
}

}  // namespace insight::cli
