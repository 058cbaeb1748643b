// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"
#include "bus/metrics/status.hpp"

namespace insight {

/// What GET /api/v1/publishers was asked for.  Value.
struct PublisherQuery {
  std::optional<Life> state;
  size_t limit = 10'000;
};

/// "state=alive&limit=10"; says what is wrong with it.
Result<PublisherQuery> parse_publisher_query(std::string_view query);

/// The bodies of /api/v1/status, /api/v1/series and /api/v1/publishers.
std::string status_json(const Status& status);
std::string series_json(const Status& status);
/// Those that live first, of each state the ones that were heard last first.
std::string publishers_json(const Status& status, const PublisherQuery& query);

}  // namespace insight
