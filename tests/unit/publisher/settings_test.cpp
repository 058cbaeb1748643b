// SPDX-License-Identifier: Apache-2.0
#include "publishers/native/settings.hpp"

#include <cstring>
#include <map>
#include <string>

#include <doctest/doctest.h>
#include <unistd.h>

#include "bus/base/clock.hpp"
#include "bus/wire/decoder.hpp"
#include "bus/wire/limits.hpp"

namespace insight::native {
namespace {

std::map<std::string, std::string> variables;

const char* environment(const char* name) {
  const auto it = variables.find(name);
  return it == variables.end() ? nullptr : it->second.c_str();
}

struct Fixture {
  ~Fixture() { variables.clear(); }

  Drops drops;

  std::map<std::string, std::string> resource(const PublisherOptions& options) {
    const auto decoded =
        wire::decode_resource(make_resource(settings_from(options, environment), drops));
    REQUIRE(decoded);
    std::map<std::string, std::string> result;
    for (const auto& [key, value] : decoded->attributes) result[key] = to_text(value);
    return result;
  }
};

TEST_CASE_FIXTURE(Fixture, "a resource names service, host and process") {
  const auto resource = this->resource({.service = "engine", .resource = {{"role", "rollout"}}});

  CHECK(resource.at("service.name") == "engine");
  CHECK(resource.at("process.pid") == std::to_string(getpid()));
  CHECK(resource.contains("host.name"));
  CHECK(resource.at("role") == "rollout");
}

TEST_CASE_FIXTURE(Fixture, "options win over variables, ours over those of others") {
  variables = {{"OTEL_SERVICE_NAME", "from-otel"},
               {"INSIGHT_RUN", "run-7"},
               {"INSIGHT_RANK", "1"},
               {"RANK", "2"},
               {"WORLD_SIZE", "8"},
               {"OTEL_RESOURCE_ATTRIBUTES", "team=a%20b, run=other,broken,service.name=ignored"}};

  const auto resource = this->resource({.resource = {{"run", "mine"}}});

  CHECK(resource.at("service.name") == "from-otel");
  CHECK(resource.at("run") == "mine");
  CHECK(resource.at("rank") == "1");
  CHECK(resource.at("world_size") == "8");
  CHECK(resource.at("team") == "a b");
}

TEST_CASE_FIXTURE(Fixture, "without any name the service is called like the program") {
  CHECK(resource({}).at("service.name") == "unit_publisher_test");
  variables = {{"OTEL_RESOURCE_ATTRIBUTES", "service.name=named"}};
  CHECK(resource({}).at("service.name") == "named");
}

TEST_CASE_FIXTURE(Fixture, "a resource never exceeds its limits, and what is left out is counted") {
  PublisherOptions options{.service = std::string(10'000, 's')};
  for (int i = 0; i < 100; ++i) options.resource.emplace_back("key" + std::to_string(i), "value");
  options.resource.emplace_back("big", std::string(5'000, 'x'));
  options.resource.emplace_back("bad", "\xff");

  const auto resource = this->resource(options);

  CHECK(resource.size() == wire::kMaxResourceKeys);
  CHECK(drops.get(Drop::resource) == 102 - (wire::kMaxResourceKeys - 3));
  CHECK(make_resource(settings_from(options, environment), drops).size() <=
        wire::kMaxResourceBytes);
}

TEST_CASE_FIXTURE(Fixture, "text of a resource that is not UTF-8 is repaired") {
  CHECK(resource({.resource = {{"bad", "a\xff"}}}).at("bad") == "a\xef\xbf\xbd");
}

TEST_CASE_FIXTURE(Fixture, "intervals have defaults, variables and bounds") {
  CHECK(settings_from({}, environment).flush_interval_ns == 250 * kMillisecond);
  variables["INSIGHT_FLUSH_INTERVAL"] = "50ms";
  CHECK(settings_from({}, environment).flush_interval_ns == 50 * kMillisecond);
  variables["INSIGHT_FLUSH_INTERVAL"] = "soon";
  CHECK(settings_from({}, environment).flush_interval_ns == 250 * kMillisecond);
  CHECK(settings_from({.flush_interval = std::chrono::hours(1)}, environment).flush_interval_ns ==
        10 * kSecond);
  CHECK(settings_from({.beat_interval = std::chrono::milliseconds(1)}, environment)
            .beat_interval_ns == 100 * kMillisecond);
}

TEST_CASE_FIXTURE(Fixture,
                  "the endpoint comes from the options, the environment, or is the default") {
  const auto text = [](const PublisherOptions& options) {
    const auto found = find_endpoint(settings_from(options, environment));
    return found ? found->text() : found.error().message;
  };
  variables["INSIGHT_ENDPOINT"] = "tcp://127.0.0.1:7000";

  CHECK(text({.endpoint = "tcp://127.0.0.1:7001"}) == "tcp://127.0.0.1:7001");
  CHECK(text({}) == "tcp://127.0.0.1:7000");
  CHECK_FALSE(find_endpoint(settings_from({.endpoint = "nonsense"}, environment)));
}

TEST_CASE_FIXTURE(Fixture, "two variables switch everything off") {
  CHECK_FALSE(is_disabled(environment));
  variables = {{"INSIGHT_DISABLED", "1"}};
  CHECK(is_disabled(environment));
  variables = {{"OTEL_SDK_DISABLED", "true"}};
  CHECK(is_disabled(environment));
  variables = {{"OTEL_SDK_DISABLED", "false"}};
  CHECK_FALSE(is_disabled(environment));
}

}  // namespace
}  // namespace insight::native
