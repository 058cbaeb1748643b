// SPDX-License-Identifier: Apache-2.0
#include "cli/publish.hpp"

#include <utility>

#include "bus/base/endpoint.hpp"

namespace insight::cli {

std::vector<Argument> publish_arguments(PublishOptions& options, std::vector<Argument> more) {
  more.insert(more.end(),
              {{.name = "--endpoint",
                .value = "ENDPOINT",
                .does = "where the broker listens (else INSIGHT_ENDPOINT, else as any publisher "
                        "finds it)",
                .target = &options.endpoint},
               {.name = "--run",
                .value = "RUN",
                .does = "the run that it belongs to (else INSIGHT_RUN)",
                .target = &options.run},
               {.name = "--role",
                .value = "ROLE",
                .does = "the role in it (else INSIGHT_ROLE)",
                .target = &options.role},
               {.name = "--rank",
                .value = "RANK",
                .does = "the rank in it (else INSIGHT_RANK)",
                .target = &options.rank}});
  return more;
}

bool is_endpoint_right(const PublishOptions& options) {
  if (options.endpoint.empty()) return true;
  const auto parsed = parse_endpoint(options.endpoint);
  if (!parsed) complain("--endpoint: " + parsed.error().message);
  return static_cast<bool>(parsed);
}

PublisherOptions publisher_options(const PublishOptions& options, std::string service) {
  PublisherOptions out{.service = std::move(service)};
  out.endpoint = options.endpoint;
  for (const auto& [key, value] :
       {std::pair("run", &options.run), {"role", &options.role}, {"rank", &options.rank}}) {
    if (!value->empty()) out.resource.emplace_back(key, *value);
  }
  return out;
}

std::optional<std::pair<std::string, std::string>> parse_label(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) return std::nullopt;
  return std::pair(std::string(text.substr(0, equals)), std::string(text.substr(equals + 1)));
}

}  // namespace insight::cli
