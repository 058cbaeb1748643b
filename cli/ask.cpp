// SPDX-License-Identifier: Apache-2.0
#include "cli/ask.hpp"

#include <chrono>
#include <cstdlib>

#include "bus/base/endpoint.hpp"
#include "bus/http/http_client.hpp"

namespace insight::cli {

namespace {

using namespace std::chrono_literals;

constexpr auto kTimeout = 10s;

struct Address {
  std::string text;
  std::string_view from;
};

Address address_of(const AskOptions& options) {
  if (!options.http.empty()) return {options.http, "--http"};
  const char* environment = std::getenv("INSIGHT_HTTP");
  if (environment != nullptr && *environment != '\0') return {environment, "INSIGHT_HTTP"};
  return {std::string(kDefaultHttp), "the default"};
}

}  // namespace

std::vector<Argument> ask_arguments(AskOptions& options, std::vector<Argument> more) {
  more.insert(more.begin(),
              {{.name = "--http",
                .value = "HOST:PORT",
                .does = "where the broker answers (else INSIGHT_HTTP, else 127.0.0.1:9092)",
                .target = &options.http},
               {.name = "--json", .does = "JSON instead of text", .target = &options.json}});
  return more;
}

std::optional<std::string> broker_address(const AskOptions& options, int& exit_code) {
  const Address address = address_of(options);
  Result<Endpoint> endpoint = parse_http_address(address.text);
  if (!endpoint) {
    complain(std::string(address.from) + ": " + endpoint.error().message);
    exit_code = kWrongUse;
    return std::nullopt;
  }
  if (endpoint->host == "*") endpoint->host = "127.0.0.1";
  return endpoint->text().substr(6);
}

std::optional<Answer> ask(const AskOptions& options, const std::string& path, int& exit_code) {
  const std::optional<std::string> address = broker_address(options, exit_code);
  if (!address) return std::nullopt;
  const std::string& where = *address;
  exit_code = kNoBroker;
  const Result<HttpReply> reply = http_get("http://" + where + path, kTimeout);
  if (!reply) {
    complain("no broker answers at " + where + " (" + std::string(address_of(options).from) +
             "): " + reply.error().message +
             "; start one with \"insightctl bus run\" or name another with --http");
    return std::nullopt;
  }
  if (reply->status == 503) {
    exit_code = kProblem;
    complain("the broker at " + where +
             " has no answer now: " + reply->body.substr(0, reply->body.find('\n')));
    return std::nullopt;
  }
  nlohmann::json json = nlohmann::json::parse(reply->body, nullptr, false);
  if (reply->status != 200 || !json.is_object()) {
    complain("what answers at " + where + path + " is not a broker (HTTP status " +
             std::to_string(reply->status) + "); name another address with --http");
    return std::nullopt;
  }
  return Answer{reply->body, std::move(json)};
}

std::string text(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? printable(found->get<std::string>()) : "";
}

uint64_t count(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

const nlohmann::json& member(const nlohmann::json& object, const char* key) {
  static const nlohmann::json none;
  const auto found = object.find(key);
  return found != object.end() ? *found : none;
}

uint64_t total(const nlohmann::json& tree) {
  if (tree.is_number_unsigned()) return tree.get<uint64_t>();
  uint64_t sum = 0;
  if (tree.is_structured()) {
    for (const nlohmann::json& each : tree) sum += total(each);
  }
  return sum;
}

}  // namespace insight::cli
