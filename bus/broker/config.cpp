// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/config.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <tuple>

#include <unistd.h>

#include "bus/broker/config_keys.hpp"
#include "bus/broker/config_table.hpp"
#include "bus/broker/config_transform.hpp"

namespace insight {

namespace {

constexpr uint64_t kMaxFileBytes = 1 << 20;
constexpr uint64_t kMinQueueBytes = 64 << 10;
constexpr uint64_t kMaxStopTimeoutNs = 3'600 * kSecond;

/// Something that is bound, for the search of what is bound twice.
struct Bind {
  Endpoint endpoint;
  std::string owner;  // "[collectors.bus]"
  ConfigPlace place;
};

bool is_everywhere(const Endpoint& endpoint) {
  return endpoint.host == "*" || endpoint.host == "0.0.0.0" || endpoint.host == "::";
}

bool overlap(const Endpoint& a, const Endpoint& b) {
  if (a.kind != b.kind) return false;
  if (a.kind == Endpoint::Kind::ipc) return a.path == b.path;
  if (a.port == 0 || a.port != b.port) return false;
  return a.host == b.host || is_everywhere(a) || is_everywhere(b);
}

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  return name.data();
}

ConfigNode text_node(std::string text) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::text;
  node.text = std::move(text);
  return node;
}

ConfigNode texts_node(const std::vector<std::string>& texts) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::array;
  for (const std::string& text : texts) node.items.push_back(text_node(text));
  return node;
}

/// Reads one configuration; collects its errors on the way.
class Reader {
 public:
  Reader(const ConfigNode& root, const std::string& file, Plugins plugins,
         const ConfigOverrides& overrides)
      : root_(root), plugins_(plugins), overrides_(overrides) {
    errors_->file = file;
    config_.source = file;
  }

  Result<Config, std::vector<ConfigError>> read() {
    check_sections();
    read_broker();
    read_http();
    read_limits();
    read_collectors();
    read_sinks();
    if (!errors_->all.empty()) {
      std::ranges::sort(errors_->all, {}, [](const ConfigError& error) {
        return std::tuple(error.place.line, error.place.column, error.message);
      });
      return errors_->all;
    }
    config_.owner = errors_;
    return std::move(config_);
  }

 private:
  ConfigTable table(std::string_view section) {
    const auto keys = config_keys(section);
    return {std::string(section),
            root_.find(section),
            {keys.begin(), keys.end()},
            config_.state_directory,
            *errors_};
  }

  void check_sections() {
    std::vector<std::string_view> known;
    for (const ConfigSection& section : config_sections()) {
      known.push_back(section.name.substr(0, section.name.find('.')));
    }
    for (const auto& [name, node] : root_.members) {
      if (std::ranges::find(known, std::string_view(name)) != known.end()) continue;
      const bool is_table = node.kind == ConfigNode::Kind::table;
      errors_->add(node.key_place, (is_table ? "unknown table [" + name + "]"
                                             : "unknown key \"" + name + "\" outside of a table") +
                                       suggest(name, known));
    }
  }

  void read_broker() {
    const ConfigTable broker = table("broker");
    config_.name = broker.text("name");
    if (config_.name.empty()) config_.name = host_name();
    config_.state_directory =
        broker.has("state_dir") ? broker.text("state_dir") : default_state_directory();
    config_.stop_timeout_ns = broker.duration_ns("stop_timeout");
    if (config_.stop_timeout_ns > kMaxStopTimeoutNs) broker.wrong("stop_timeout", "at most \"1h\"");
    config_.resource_labels = broker.texts("resource_labels");
    std::map<std::string_view, ConfigNode> known;
    if (broker.text("name").empty()) known["name"] = text_node(config_.name);
    if (!broker.has("state_dir") && !config_.state_directory.empty()) {
      known["state_dir"] = text_node(config_.state_directory);
    }
    config_.tables.push_back({"broker", {}, broker.resolved(known)});
    std::set<std::string> seen;
    for (size_t i = 0; i < config_.resource_labels.size(); ++i) {
      const std::string& label = config_.resource_labels[i];
      if (label.empty()) broker.report("resource_labels", "expected a resource key, got \"\"", i);
      if (label == "le" || label.starts_with("__")) {
        broker.report("resource_labels", "\"" + label + "\" is reserved by Prometheus", i);
      }
      if (!seen.insert(label).second) {
        broker.report("resource_labels", "\"" + label + "\" stands here twice", i);
      }
    }
  }

  void read_http() {
    const ConfigTable http = table("http");
    config_.tables.push_back({"http", {}, http.resolved()});
    const std::string text = overrides_.http.value_or(http.text("listen"));
    const Result<Endpoint> address = parse_http_address(text);
    if (!address) {
      if (overrides_.http) {
        add_override("--http", address.error().message);
      } else {
        http.report("listen", address.error().message);
      }
      return;
    }
    config_.http = *address;
    const std::string remedy = "; bind to 127.0.0.1 or [::1], or set insecure = true in [http]";
    if (!address->is_loopback() && !http.flag("insecure")) {
      const std::string why =
          "\"" + text + "\" can be reached from other machines, and nothing checks who reads" +
          remedy;
      if (overrides_.http) {
        add_override("--http", why);
      } else {
        http.report("listen", why);
      }
    }
    binds_.push_back({*address, overrides_.http ? "--http" : "[http]", http.place("listen")});
  }

  void read_limits() {
    const ConfigTable limits = table("limits");
    config_.tables.push_back({"limits", {}, limits.resolved()});
    const auto at_least_one = [&](std::string_view key) {
      const int64_t value = limits.integer(key);
      if (value < 1) limits.wrong(key, "1 or more");
      return static_cast<uint64_t>(value);
    };
    config_.limits.series = at_least_one("series");
    config_.limits.series_per_metric = at_least_one("series_per_metric");
    config_.limits.series_per_publisher = at_least_one("series_per_publisher");
  }

  /// The named tables below [collectors] or [sinks].
  const std::vector<ConfigNode::Member>& tables_of(const std::string& kind) {
    static const std::vector<ConfigNode::Member> none;
    const ConfigNode* node = root_.find(kind);
    if (node == nullptr) return none;
    if (node->kind != ConfigNode::Kind::table) {
      errors_->add(node->place,
                   kind + ": expected tables such as [" + kind + ".NAME], got " + show(*node));
      return none;
    }
    return node->members;
  }

  void read_collectors() {
    for (const auto& [name, node] : tables_of("collectors")) read_collector(name, node);
    if (overrides_.listen) override_listen();
    if (config_.collectors.empty() && root_.find("collectors") == nullptr) {
      errors_->add({}, "no collector: nothing could come in; add [collectors.bus]");
    }
  }

  void read_collector(const std::string& name, const ConfigNode& node) {
    const auto keys = config_keys("collectors.<name>");
    const ConfigTable collector("collectors." + name, &node, {keys.begin(), keys.end()},
                                config_.state_directory, *errors_);
    const std::string type = collector.has("type") ? collector.text("type") : "zmq";
    const auto types = collector_types();
    if (std::ranges::find(types, std::string_view(type)) == types.end()) {
      collector.report("type", "no collector \"" + type + "\" is built in" +
                                   suggest(type, {types.begin(), types.end()}));
    }
    Config::Collector out{name, {}, collector.flag("insecure")};
    if (collector.texts("endpoints").empty()) {
      collector.report("endpoints", "expected at least one endpoint");
    }
    size_t i = 0;
    for (const std::string& text :
         overrides_.listen ? std::vector<std::string>{} : collector.texts("endpoints")) {
      read_endpoint(collector, text, i++, out);
    }
    print_collector(collector, type);
    config_.collectors.push_back(std::move(out));
  }

  void print_collector(const ConfigTable& collector, const std::string& type) {
    ConfigNode values = collector.resolved({{"type", text_node(type)}});
    for (auto& [key, value] : values.members) {
      if (key != "endpoints") continue;
      for (ConfigNode& item : value.items) {
        if (const auto endpoint = parse_endpoint(item.text)) item.text = endpoint->text();
      }
    }
    config_.tables.push_back({"collectors", std::string(collector.name()), std::move(values)});
  }

  void read_endpoint(const ConfigTable& collector, const std::string& text, size_t i,
                     Config::Collector& out) {
    const Result<Endpoint> endpoint = parse_endpoint(text);
    if (!endpoint) return collector.report("endpoints", endpoint.error().message, i);
    if (!endpoint->is_loopback() && !collector.flag("insecure")) {
      collector.report("endpoints",
                       "\"" + text +
                           "\" can be reached from other machines, and nothing checks who writes; "
                           "bind to 127.0.0.1 or [::1], or set insecure = true in [collectors." +
                           out.name + "]",
                       i);
    }
    const ConfigPlace place = collector.place("endpoints", i);
    for (const Bind& bind : binds_) {
      if (!overlap(bind.endpoint, *endpoint)) continue;
      collector.report(
          "endpoints",
          "\"" + text + "\" is bound by " + bind.owner + " too" +
              (bind.place.line != 0 ? ", at line " + std::to_string(bind.place.line) : ""),
          i);
    }
    binds_.push_back({*endpoint, "[collectors." + out.name + "]", place});
    out.endpoints.push_back(*endpoint);
  }

  void override_listen() {
    const Result<Endpoint> endpoint = parse_endpoint(*overrides_.listen);
    if (!endpoint) return add_override("--listen", endpoint.error().message);
    if (config_.collectors.size() != 1) {
      return add_override("--listen", "the configuration has " +
                                          std::to_string(config_.collectors.size()) +
                                          " collectors; set their endpoints there");
    }
    if (!endpoint->is_loopback() && !config_.collectors[0].insecure) {
      return add_override("--listen", "\"" + *overrides_.listen +
                                          "\" can be reached from other machines, and nothing "
                                          "checks who writes; bind to 127.0.0.1 or [::1], or set "
                                          "insecure = true in [collectors." +
                                          config_.collectors[0].name + "]");
    }
    for (const Bind& bind : binds_) {
      if (overlap(bind.endpoint, *endpoint)) {
        add_override("--listen",
                     "\"" + *overrides_.listen + "\" is bound by " + bind.owner + " too");
      }
    }
    config_.collectors[0].endpoints = {*endpoint};
  }

  void read_sinks() {
    for (const auto& [name, node] : tables_of("sinks")) read_sink(name, node);
  }

  const SinkPlugin* find_plugin(std::string_view type) const {
    const auto found = std::ranges::find(plugins_, type, &SinkPlugin::name);
    return found == plugins_.end() ? nullptr : *found;
  }

  void read_sink(const std::string& name, const ConfigNode& node) {
    const std::string path = "sinks." + name;
    const ConfigNode* type_node = node.find("type");
    std::string type = name;
    if (type_node != nullptr && type_node->kind == ConfigNode::Kind::text) type = type_node->text;
    const SinkPlugin* plugin = find_plugin(type);
    if (plugin == nullptr) {
      std::vector<std::string_view> known;
      for (const SinkPlugin* each : plugins_) known.push_back(each->name);
      errors_->add(type_node != nullptr ? type_node->place : node.key_place,
                   path + ": no sink \"" + type + "\" is built in" + suggest(type, known));
      return;
    }
    const auto common = config_keys("sinks.<name>");
    std::vector<ConfigKey> keys(common.begin(), common.end());
    keys.insert(keys.end(), plugin->keys.begin(), plugin->keys.end());
    auto sink = std::make_shared<ConfigTable>(path, &node, std::move(keys), config_.state_directory,
                                              *errors_);
    Config::Sink out;
    out.plugin = plugin;
    out.table = sink;
    out.worker.name = name;
    out.worker.type = plugin->name;
    read_signals(*sink, *plugin, out.worker);
    print_sink(*sink, out.worker);
    out.worker.transform = read_transform(*sink);
    out.worker.queue_bytes = sink->size_bytes("queue.bytes");
    if (out.worker.queue_bytes < kMinQueueBytes) sink->wrong("queue.bytes", "at least \"64KiB\"");
    out.worker.retry_initial_ns = sink->duration_ns("retry.initial");
    out.worker.retry_max_ns = sink->duration_ns("retry.max");
    out.worker.retry_give_up_after_ns = sink->duration_ns("retry.give_up_after");
    if (out.worker.retry_initial_ns == 0) sink->wrong("retry.initial", "more than \"0s\"");
    if (out.worker.retry_max_ns < out.worker.retry_initial_ns) {
      sink->wrong("retry.max", "at least retry.initial");
    }
    try_create(*plugin, *sink);
    config_.sinks.push_back(std::move(out));
  }

  void print_sink(const ConfigTable& sink, const SinkWorkerOptions& worker) {
    std::vector<std::string> signals;
    for (size_t i = 0; i < kSignalCount; ++i) {
      if (worker.signals[i]) signals.emplace_back(to_string(static_cast<Signal>(i)));
    }
    config_.tables.push_back(
        {"sinks", worker.name,
         sink.resolved({{"type", text_node(worker.type)}, {"signals", texts_node(signals)}})});
  }

  void read_signals(const ConfigTable& sink, const SinkPlugin& plugin, SinkWorkerOptions& worker) {
    const auto takes = [&](Signal signal) {
      return std::ranges::find(plugin.signals, signal) != plugin.signals.end();
    };
    for (size_t i = 0; i < kSignalCount; ++i) {
      worker.signals[i] = !sink.has("signals") && takes(static_cast<Signal>(i));
    }
    const std::vector<std::string> names = sink.texts("signals");
    if (sink.has("signals") && names.empty())
      sink.report("signals", "expected at least one signal");
    for (size_t i = 0; i < names.size(); ++i) {
      const bool is_metrics = names[i] == to_string(Signal::metrics);
      if (!is_metrics && names[i] != to_string(Signal::spans)) {
        sink.report("signals",
                    "no signal \"" + names[i] + "\"" + suggest(names[i], {"metrics", "spans"}), i);
        continue;
      }
      const Signal signal = is_metrics ? Signal::metrics : Signal::spans;
      if (!takes(signal)) {
        sink.report("signals", "the sink " + std::string(plugin.name) + " takes no " + names[i], i);
      }
      worker.signals[static_cast<size_t>(signal)] = true;
    }
  }

  /// A plugin checks its values while it creates, so that is tried here, and nothing is opened.
  void try_create(const SinkPlugin& plugin, const ConfigTable& sink) {
    const size_t before = errors_->all.size();
    bool has_page = false;
    SinkSettings settings{.log = Logger::none(),
                          .state_directory = {},
                          .resource_labels = config_.resource_labels,
                          .series_limit = config_.limits.series,
                          .series_per_metric_limit = config_.limits.series_per_metric,
                          .reserved_metrics = {},
                          .add_metrics_view = [&](MetricsView&) { has_page = true; }};
    try {
      (void)plugin.create(sink, settings);
    } catch (const std::exception& e) {
      if (errors_->all.size() == before) sink.report("", e.what());
    }
    if (has_page && !page_owner_.empty()) {
      sink.report("",
                  "[sinks." + page_owner_ +
                      "] is on /metrics already; with two, each series would stand there twice");
    }
    if (has_page) page_owner_ = sink.name();
  }

  void add_override(const std::string& flag, std::string message) {
    errors_->all.push_back({flag, {}, std::move(message)});
  }

  const ConfigNode& root_;
  Plugins plugins_;
  const ConfigOverrides& overrides_;
  // Shared: the sinks' tables refer to it for as long as they live.
  std::shared_ptr<ConfigErrors> errors_ = std::make_shared<ConfigErrors>();
  Config config_;
  std::vector<Bind> binds_;
  std::string page_owner_;  // the sink that adds to /metrics
};

}  // namespace

std::string default_state_directory() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return std::string(state) + "/insight";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return std::string(home) + "/.local/state/insight";
  return {};
}

std::string default_config(Plugins plugins) {
  std::string out = "[collectors.bus]\ntype = \"zmq\"\n";
  for (const SinkPlugin* plugin : plugins) {
    if (plugin->name == "prometheus") out += "\n[sinks.prometheus]\n";
    if (plugin->name == "file" && !default_state_directory().empty()) {
      out += "\n[sinks.file]\ndirectory = \"{state_dir}/telemetry\"\n";
    }
  }
  return out;
}

Result<Config, std::vector<ConfigError>> check_config(std::string_view text,
                                                      const std::string& file, Plugins plugins,
                                                      const ConfigOverrides& overrides) {
  const Result<ConfigNode, ConfigError> root = parse_toml(text, file);
  if (!root) return std::vector{root.error()};
  return Reader(*root, file, plugins, overrides).read();
}

Result<Config, std::vector<ConfigError>> load_config(const std::string& path, Plugins plugins,
                                                     const ConfigOverrides& overrides,
                                                     std::string name) {
  if (path.empty()) {
    auto config = check_config(default_config(plugins), "embedded default", plugins, overrides);
    if (config) config->is_default = true;
    return config;
  }
  if (name.empty()) name = path;
  const auto cannot = [&](const std::string& why) {
    return std::vector{ConfigError{name, {}, why}};
  };
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) return cannot(std::string("cannot be read: ") + std::strerror(errno));
  std::string text(kMaxFileBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) return cannot(std::string("cannot be read: ") + std::strerror(errno));
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() > kMaxFileBytes) return cannot("larger than 1 MiB, so not a configuration file");
  return check_config(text, name, plugins, overrides);
}

}  // namespace insight
