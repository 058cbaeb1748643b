// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/base/result.hpp"
#include "bus/model/batch.hpp"

namespace insight {

/// Of a glob that anybody may send: looking for it takes its length times that of the text.
constexpr size_t kMaxGlobBytes = 256;

/// What somebody wants to see.  Globs know '*' and '?'.  Value.
struct TapQuery {
  std::optional<Signal> signal;  ///< none: both
  std::string name;              ///< glob; empty: any
  std::string publisher;  ///< glob: service, host, pid, "service/host/pid" or incarnation in hex
  /// All of them: a key and a glob.  A label of the point, an attribute or the lane of the
  /// span, else a key of the publisher's resource.
  std::vector<std::pair<std::string, std::string>> labels;
  bool has_refreshes = false;  ///< also points whose value is the one that was sent before
  uint64_t count = 0;          ///< end after so many records; 0: never
};

/// Reads "signal=spans&name=rl_*&publisher=p&label=k%3Dv&all=1&n=10".
Result<TapQuery> parse_tap_query(std::string_view query);

/// Decides which records a TapQuery means.  Thread-bound.
class TapFilter {
 public:
  explicit TapFilter(TapQuery query) : query_(std::move(query)) {}

  const TapQuery& query() const noexcept { return query_; }

  /// What follows are records of this segment.  False: none of them is meant.
  bool begin(const Segment& segment);

  bool matches(const Point& point);
  bool matches(const Span& span) const;

 private:
  bool matches_resource(const std::string& key, const std::string& glob) const;

  const TapQuery query_;
  const Incarnation* incarnation_ = nullptr;  // of this segment
  const Family* family_ = nullptr;            // of this segment, whose name was looked at last
  bool is_family_meant_ = false;
};

}  // namespace insight
