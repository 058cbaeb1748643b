// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bus/model/batch.hpp"
#include "publishers/native/drops.hpp"
#include <insight/insight.hpp>

namespace insight::native {

/// What a span says of itself, always within the limits of an envelope.  Value.
///
/// What comes beyond a limit is dropped and counted in the `drops` of the call.
class SpanRecord {
 public:
  /// The longest encoding.
  static constexpr size_t kMaxBytes = 64 << 10;

  SpanRecord(std::string_view name, std::string_view lane);

  void attribute(std::string_view key, const SpanValue& value, Drops& drops);
  void event(uint64_t time_ns, std::string_view name, std::span<const SpanAttribute> attributes,
             Drops& drops);
  void link(const SpanContext& to, std::span<const SpanAttribute> attributes, Drops& drops);

  /// Appends the element of `spn`.
  void encode(SpanWhat what, uint64_t end_ns, std::string& out) const;

  /// At least what encode() appends.
  size_t bytes() const noexcept { return bytes_; }

  // What needs no check.
  SpanContext context;
  std::array<unsigned char, 8> parent_id{};
  bool has_parent = false;
  uint64_t start_ns = 0;
  SpanStatus status = SpanStatus::unset;

 private:
  using Value = std::variant<std::string, int64_t, uint64_t, double, bool>;
  using Attributes = std::vector<std::pair<std::string, Value>>;

  struct Event {
    uint64_t time_ns = 0;
    std::string name;
    Attributes attributes;
  };

  struct Link {
    SpanContext to;
    Attributes attributes;
  };

  /// False: dropped.
  bool set(Attributes& attributes, std::string_view key, const SpanValue& value);
  void set_all(Attributes& attributes, std::span<const SpanAttribute> given, Drops& drops);
  bool take(size_t bytes) noexcept;

  std::string name_;
  std::string lane_;
  Attributes attributes_;
  std::vector<Event> events_;
  std::vector<Link> links_;
  size_t bytes_ = 0;
};

}  // namespace insight::native
