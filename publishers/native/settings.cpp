// SPDX-License-Identifier: Apache-2.0
#include "publishers/native/settings.hpp"

#include <algorithm>
#include <string_view>

#include <errno.h>
#include <unistd.h>

#include "bus/base/clock.hpp"
#include "bus/base/path_lock.hpp"
#include "bus/base/text.hpp"
#include "bus/model/resource.hpp"
#include "bus/wire/encoder.hpp"
#include "bus/wire/limits.hpp"

namespace insight::native {

namespace {

constexpr uint64_t kDefaultFlushInterval = 250 * kMillisecond;

std::string_view get(Environment environment, const char* name) {
  const char* value = environment(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
        hex_digit(text[i + 2]) >= 0) {
      decoded += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// "key=value,key=value", percent-encoded.
void add_otel_attributes(std::string_view text, Settings& settings) {
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view pair = text.substr(0, comma);
    if (const size_t equals = pair.find('='); equals != std::string_view::npos) {
      settings.resource.emplace_back(percent_decoded(trimmed(pair.substr(0, equals))),
                                     percent_decoded(trimmed(pair.substr(equals + 1))));
    }
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
}

std::string program_name() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  std::string_view name(path, length > 0 ? static_cast<size_t>(length) : 0);
  name.remove_prefix(name.rfind('/') + 1);
  return name.empty() ? "unknown" : std::string(name);
}

uint64_t nanoseconds(std::chrono::milliseconds duration) {
  return static_cast<uint64_t>(std::max<int64_t>(duration.count(), 0)) * kMillisecond;
}

}  // namespace

bool is_disabled(Environment environment) {
  for (const char* name : {"INSIGHT_DISABLED", "OTEL_SDK_DISABLED"}) {
    const std::string_view value = get(environment, name);
    if (value == "1" || value == "true" || value == "TRUE" || value == "True") return true;
  }
  return false;
}

Settings settings_from(const PublisherOptions& options, Environment environment) {
  Settings settings;
  settings.resource = options.resource;
  constexpr std::pair<const char*, const char*> kVariables[] = {
      {"INSIGHT_RUN", "run"}, {"INSIGHT_ROLE", "role"},     {"INSIGHT_RANK", "rank"},
      {"RANK", "rank"},       {"LOCAL_RANK", "local_rank"}, {"WORLD_SIZE", "world_size"},
  };
  for (const auto& [variable, key] : kVariables) {
    if (auto value = get(environment, variable); !value.empty()) {
      settings.resource.emplace_back(key, value);
    }
  }
  add_otel_attributes(get(environment, "OTEL_RESOURCE_ATTRIBUTES"), settings);

  settings.service = options.service;
  if (settings.service.empty()) settings.service = get(environment, "OTEL_SERVICE_NAME");
  if (settings.service.empty()) {
    const auto given = std::ranges::find(settings.resource, "service.name",
                                         &std::pair<std::string, std::string>::first);
    settings.service = given != settings.resource.end() ? given->second : program_name();
  }

  settings.endpoint = options.endpoint;
  if (settings.endpoint.empty()) settings.endpoint = get(environment, "INSIGHT_ENDPOINT");

  settings.flush_interval_ns = nanoseconds(options.flush_interval);
  if (settings.flush_interval_ns == 0 &&
      !parse_duration(get(environment, "INSIGHT_FLUSH_INTERVAL"), settings.flush_interval_ns)) {
    settings.flush_interval_ns = kDefaultFlushInterval;
  }
  settings.flush_interval_ns =
      std::clamp<uint64_t>(settings.flush_interval_ns, kMillisecond, 10 * kSecond);
  settings.beat_interval_ns = std::clamp<uint64_t>(
      nanoseconds(options.beat_interval), wire::kMinEveryMs * kMillisecond, 3600 * kSecond);
  settings.exit_deadline_ns =
      std::min<uint64_t>(nanoseconds(options.exit_deadline), 3600 * kSecond);
  return settings;
}

std::string make_resource(const Settings& settings, Drops& drops) {
  char host[256] = "";
  if (gethostname(host, sizeof host - 1) != 0) host[0] = 0;

  Resource resource;
  size_t bytes = 16;  // of the map's head, generously
  const auto add = [&](std::string key, Scalar value) {
    const size_t size =
        key.size() + 16 +
        (std::holds_alternative<std::string>(value) ? std::get<std::string>(value).size() : 0);
    const auto place = std::ranges::lower_bound(resource.attributes, key, {},
                                                &std::pair<std::string, Scalar>::first);
    if (place != resource.attributes.end() && place->first == key) return;
    if (key.empty() || resource.attributes.size() == wire::kMaxResourceKeys ||
        bytes + size > wire::kMaxResourceBytes) {
      drops.add(Drop::resource);
      return;
    }
    bytes += size;
    resource.attributes.emplace(place, std::move(key), std::move(value));
  };
  add("service.name", to_utf8(settings.service.substr(0, 512)));
  add("host.name", to_utf8(host));
  add("process.pid", static_cast<int64_t>(getpid()));
  for (const auto& [key, value] : settings.resource) add(to_utf8(key), to_utf8(value));
  return wire::encode_resource(resource);
}

Result<Endpoint> find_endpoint(const Settings& settings) {
  if (!settings.endpoint.empty()) return parse_endpoint(settings.endpoint);
  const std::string path = runtime_directory() + "/" + std::string(kDefaultSocketName);
  if (is_locked(path)) {
    Endpoint local;
    local.kind = Endpoint::Kind::ipc;
    local.path = path;
    return local;
  }
  return parse_endpoint(kDefaultEndpoint);
}

}  // namespace insight::native
