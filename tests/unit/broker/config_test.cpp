// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/config.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include <doctest/doctest.h>
#include <unistd.h>

#include "bus/broker/config_keys.hpp"
#include "tests/unit/broker/fake_sinks.hpp"

namespace insight {
namespace {

constexpr const char* kBus = "[collectors.bus]\n";

Config right(const std::string& text, const ConfigOverrides& overrides = {}) {
  setenv("HOME", "/home/somebody", 1);
  unsetenv("XDG_STATE_HOME");
  setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
  auto config = check_config(text, "bus.toml", test::kPlugins, overrides);
  if (!config) FAIL(config.error().front().text());
  return std::move(*config);
}

std::string first_error(const std::string& text, const ConfigOverrides& overrides) {
  const auto config = check_config(text, "bus.toml", test::kPlugins, overrides);
  return config ? "none" : config.error().front().text();
}

std::vector<std::string> texts(const std::vector<Endpoint>& endpoints) {
  std::vector<std::string> out;
  for (const Endpoint& endpoint : endpoints) out.push_back(endpoint.text());
  return out;
}

}  // namespace

TEST_CASE("what a file leaves out has the documented default") {
  const Config config = right(std::string(kBus) + "[sinks.file]\n");

  CHECK(!config.name.empty());
  CHECK(config.state_directory == "/home/somebody/.local/state/insight");
  CHECK(config.stop_timeout_ns == 5 * kSecond);
  CHECK(config.resource_labels == std::vector<std::string>{"run", "role", "rank", "replica"});
  CHECK(config.http.text() == "tcp://127.0.0.1:9092");
  CHECK(config.limits.series == 1'000'000);
  CHECK(config.limits.series_per_metric == 100'000);
  CHECK(config.limits.series_per_publisher == 20'000);
  REQUIRE(config.collectors.size() == 1);
  CHECK(texts(config.collectors[0].endpoints) ==
        std::vector<std::string>{"tcp://127.0.0.1:5571", "ipc:///run/user/7/insight/bus.ipc"});
  REQUIRE(config.sinks.size() == 1);
  const SinkWorkerOptions& worker = config.sinks[0].worker;
  CHECK(worker.queue_bytes == 64 << 20);
  CHECK(worker.retry_initial_ns == kSecond);
  CHECK(worker.retry_max_ns == 30 * kSecond);
  CHECK(worker.retry_give_up_after_ns == 600 * kSecond);
  CHECK(worker.signals[0]);
  CHECK(worker.signals[1]);
}

TEST_CASE("every key of a file is read") {
  const Config config = right(R"(
[broker]
name = "head"
state_dir = "/var/lib/insight"
stop_timeout = "1.5s"
resource_labels = ["run", "service.name"]
[http]
listen = "[::]:19092"
insecure = true
[limits]
series = 1_000
series_per_metric = 100
series_per_publisher = 10
[collectors.a]
type = "zmq"
endpoints = ["tcp://*:15571"]
insecure = true
[collectors.b]
endpoints = ["ipc:///run/b"]
[sinks.archive]
type = "file"
signals = ["spans"]
queue = { bytes = "1MiB" }
retry = { initial = "10ms", max = "2s", give_up_after = "1m" }
directory = "{state_dir}/archive"
rotate.bytes = "2KiB"
rotate.keep = 7
format = "csv"
ratio = 2
linger = "1h"
snapshot = false
words = ["x", "y"]
)");

  CHECK(config.name == "head");
  CHECK(config.stop_timeout_ns == 3 * kSecond / 2);
  CHECK(config.resource_labels == std::vector<std::string>{"run", "service.name"});
  CHECK(config.http.text() == "tcp://[::]:19092");
  CHECK(config.limits.series == 1'000);
  CHECK(config.limits.series_per_metric == 100);
  CHECK(config.limits.series_per_publisher == 10);
  REQUIRE(config.collectors.size() == 2);
  CHECK(config.collectors[0].name == "a");
  CHECK(config.collectors[0].insecure);
  CHECK(!config.collectors[1].insecure);
  REQUIRE(config.sinks.size() == 1);
  const Config::Sink& sink = config.sinks[0];
  CHECK(sink.worker.name == "archive");
  CHECK(sink.worker.type == "file");
  CHECK(!sink.worker.signals[0]);
  CHECK(sink.worker.signals[1]);
  CHECK(sink.worker.queue_bytes == 1 << 20);
  CHECK(sink.worker.retry_initial_ns == 10 * kMillisecond);
  CHECK(sink.worker.retry_max_ns == 2 * kSecond);
  CHECK(sink.worker.retry_give_up_after_ns == 60 * kSecond);
  CHECK(sink.table->name() == "archive");
  CHECK(sink.table->text("directory") == "/var/lib/insight/archive");
  CHECK(sink.table->size_bytes("rotate.bytes") == 2048);
  CHECK(sink.table->integer("rotate.keep") == 7);
  CHECK(sink.table->text("format") == "csv");
  CHECK(sink.table->number("ratio") == 2.0);
  CHECK(sink.table->duration_ns("linger") == 3'600 * kSecond);
  CHECK(!sink.table->flag("snapshot"));
  CHECK(sink.table->texts("words") == std::vector<std::string>{"x", "y"});
  CHECK(sink.table->has("ratio"));
}

TEST_CASE("a sink's own keys have the defaults of its plugin") {
  const Config config = right(std::string(kBus) + "[sinks.file]\n");
  const SinkConfig& table = *config.sinks[0].table;

  CHECK(table.text("directory") == "/home/somebody/.local/state/insight/telemetry");
  CHECK(table.size_bytes("rotate.bytes") == 64 << 20);
  CHECK(table.integer("rotate.keep") == 4);
  CHECK(table.number("ratio") == 0.5);
  CHECK(table.duration_ns("linger") == 60 * kSecond);
  CHECK(table.flag("snapshot"));
  CHECK(table.texts("words") == std::vector<std::string>{"a"});
  CHECK(!table.has("ratio"));
}

TEST_CASE("environment variables are replaced in strings, with a default where one is given") {
  setenv("INSIGHT_TEST_NAME", "node7", 1);
  setenv("INSIGHT_TEST_EMPTY", "", 1);
  unsetenv("INSIGHT_TEST_UNSET");

  const Config config = right(std::string(kBus) + R"(
[broker]
name = "${INSIGHT_TEST_NAME}-${INSIGHT_TEST_UNSET:-b}-${INSIGHT_TEST_EMPTY:-c}${INSIGHT_TEST_EMPTY}"
[http]
listen = "127.0.0.1:${INSIGHT_TEST_UNSET:-1234}"
)");

  CHECK(config.name == "node7-b-c");
  CHECK(config.http.port == 1234);
}

TEST_CASE("a relative path is below the state directory, and that below the working directory") {
  const Config config = right(std::string(kBus) +
                              "[broker]\nstate_dir = 'state'\n"
                              "[sinks.file]\ndirectory = 'here/../telemetry'\n");

  const std::string state = std::filesystem::current_path().string() + "/state";
  CHECK(config.state_directory == state);
  CHECK(config.sinks[0].table->text("directory") == state + "/telemetry");
}

TEST_CASE("the state directory follows XDG, and there is none without a home") {
  setenv("XDG_STATE_HOME", "/var/xdg", 1);
  CHECK(default_state_directory() == "/var/xdg/insight");
  setenv("XDG_STATE_HOME", "relative", 1);
  setenv("HOME", "/home/somebody", 1);
  CHECK(default_state_directory() == "/home/somebody/.local/state/insight");
  unsetenv("XDG_STATE_HOME");
  unsetenv("HOME");
  CHECK(default_state_directory().empty());

  const std::string with_state = std::string(kBus) + "[sinks.file]\ndirectory = '{state_dir}/x'\n";
  CHECK(first_error(with_state, {}) ==
        "bus.toml:3:13: sinks.file.directory: there is no {state_dir}: set HOME or "
        "broker.state_dir");
  CHECK(first_error(std::string(kBus) + "[sinks.file]\n", {}) ==
        "bus.toml:2:8: sinks.file.directory: there is no {state_dir}: set HOME or "
        "broker.state_dir");
}

TEST_CASE("the embedded default has zmq, prometheus and a file, but no file without a home") {
  setenv("HOME", "/home/somebody", 1);
  const auto config = load_config("", test::kPlugins);
  REQUIRE(config);
  REQUIRE(config->collectors.size() == 1);
  REQUIRE(config->sinks.size() == 2);
  CHECK(config->sinks[0].worker.name == "file");
  CHECK(config->sinks[0].table->text("directory") ==
        "/home/somebody/.local/state/insight/telemetry");
  CHECK(config->sinks[1].worker.name == "prometheus");

  unsetenv("HOME");
  const auto homeless = load_config("", test::kPlugins);
  REQUIRE(homeless);
  REQUIRE(homeless->sinks.size() == 1);
  CHECK(homeless->sinks[0].worker.name == "prometheus");
}

TEST_CASE("flags of the command line go before the file") {
  const Config config =
      right("[http]\nlisten = '127.0.0.1:1'\n[collectors.x]\nendpoints = ['tcp://127.0.0.1:1']",
            {.listen = "ipc:///run/x", .http = "[::1]:2"});

  CHECK(config.http.text() == "tcp://[::1]:2");
  CHECK(texts(config.collectors[0].endpoints) == std::vector<std::string>{"ipc:///run/x"});
}

TEST_CASE("wrong flags are told by their name") {
  CHECK(first_error(kBus, {.listen = "5571"}) ==
        "--listen: \"5571\": expected tcp://HOST:PORT or ipc:///PATH");
  CHECK(first_error(kBus, {.http = "9092"}) == "--http: \"9092\": the port is missing");
  CHECK(first_error("[collectors.a]\nendpoints=['tcp://127.0.0.1:1']\n[collectors.b]\n",
                    {.listen = "tcp://127.0.0.1:2"}) ==
        "--listen: the configuration has 2 collectors; set their endpoints there");
  CHECK(first_error(kBus, {.listen = "tcp://127.0.0.1:2", .http = "127.0.0.1:2"}) ==
        "--listen: \"tcp://127.0.0.1:2\" is bound by --http too");
  CHECK(first_error(kBus, {.listen = "tcp://*:2"}).find("insecure = true in [collectors.bus]") !=
        std::string::npos);
  CHECK(first_error("[collectors.bus]\ninsecure = true", {.listen = "tcp://*:2"}) == "none");
}

TEST_CASE("a file that cannot be read, or is no configuration, is an error of the file") {
  const auto none = load_config("/nonexistent/bus.toml", test::kPlugins);
  REQUIRE(!none);
  CHECK(none.error().front().text() ==
        "/nonexistent/bus.toml: cannot be read: No such file or directory");

  const auto directory = load_config("/", test::kPlugins);
  REQUIRE(!directory);
  CHECK(directory.error().front().text() == "/: cannot be read: Is a directory");

  const std::string large =
      std::filesystem::temp_directory_path() / ("insight-large-" + std::to_string(getpid()));
  std::ofstream(large) << std::string((1 << 20) + 1, '#');
  const auto too_large = load_config(large, test::kPlugins);
  std::filesystem::remove(large);
  REQUIRE(!too_large);
  CHECK(too_large.error().front().message == "larger than 1 MiB, so not a configuration file");
}

TEST_CASE("CONFIG.md describes every key, and no key that does not exist") {
  std::ifstream in(INSIGHT_SOURCE_ROOT "/bus/broker/CONFIG.md");
  REQUIRE(in);
  std::set<std::string> documented, known;
  std::string line, section;
  while (std::getline(in, line)) {
    if (line.starts_with("## `[")) section = line.substr(5, line.find(']') - 5) + " ";
    if (line.starts_with("| `")) documented.insert(section + line);
  }
  for (const ConfigSection& each : config_sections()) {
    for (const ConfigKey& key : each.keys) {
      const std::string preset = key.preset.empty() ? "" : "`" + std::string(key.preset) + "`";
      known.insert(std::string(each.name) + " | `" + std::string(key.name) + "` | " +
                   std::string(key.type) + " | " + preset + " | " + std::string(key.help) + " |");
    }
  }

  for (const std::string& row : known) CHECK_MESSAGE(documented.contains(row), "missing: " << row);
  for (const std::string& row : documented) CHECK_MESSAGE(known.contains(row), "extra: " << row);
}

TEST_CASE("what a sink's table changes is read in the order of the file") {
  const auto config = check_config(
      "[collectors.bus]\n[sinks.prometheus]\ninclude = ['a*', 'b']\nexclude = ['c']\n"
      "rename = { z = 'y', x = 'w' }\nprefix = 'p_'\nlabels = { l = 'v', gone = '' }\n"
      "scale = { '*_ms' = 0.001, '*' = 2 }\n",
      "bus.toml", test::kPlugins);
  REQUIRE(config);
  const TransformOptions& table = config->sinks[0].worker.transform;
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  CHECK(table.include == std::vector<std::string>{"a*", "b"});
  CHECK(table.exclude == std::vector<std::string>{"c"});
  CHECK(table.rename == Pairs{{"z", "y"}, {"x", "w"}});
  CHECK(table.prefix == "p_");
  CHECK(table.labels == Pairs{{"l", "v"}, {"gone", ""}});
  CHECK(table.scale == std::vector<std::pair<std::string, double>>{{"*_ms", 0.001}, {"*", 2}});
}

}  // namespace insight
