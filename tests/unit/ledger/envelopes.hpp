// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/base/clock.hpp"
#include "bus/wire/decoder.hpp"
#include "bus/wire/pack.hpp"

namespace insight {

inline IncarnationId test_id(uint64_t n) {
  IncarnationId id;
  id.bytes[15] = 1;
  std::memcpy(id.bytes.data(), &n, sizeof n);
  return id;
}

inline Now at_second(double seconds) {
  const auto ns = static_cast<uint64_t>(seconds * 1e9);
  return {1'700'000'000 * kSecond + ns, 1'000 * kSecond + ns};
}

inline std::string pack_strings(std::initializer_list<std::string_view> strings) {
  std::string bytes;
  wire::Packer pack(bytes);
  pack.array(static_cast<uint32_t>(strings.size()));
  for (std::string_view text : strings) pack.str(text);
  return bytes;
}

inline std::string pack_resource(std::string_view service = "test") {
  std::string bytes;
  wire::Packer pack(bytes);
  pack.map(1);
  pack.str("service.name");
  pack.str(service);
  return bytes;
}

inline std::string pack_family(std::string_view name, std::string_view kind,
                               std::initializer_list<std::string_view> keys,
                               std::string_view help = "") {
  std::string bytes;
  wire::Packer pack(bytes);
  pack.array(5);
  pack.str(name);
  pack.str(kind);
  pack.array(static_cast<uint32_t>(keys.size()));
  for (std::string_view key : keys) pack.str(key);
  pack.str("");
  pack.str(help);
  return bytes;
}

/// An envelope as the decoder would give it, with memory of its own.
struct TestEnvelope {
  explicit TestEnvelope(uint64_t publisher, uint64_t seq, std::string_view service = "test")
      : resource(pack_resource(service)) {
    view.inc = test_id(publisher);
    view.seq = seq;
    view.t0_ns = 1'700'000'000 * kSecond;
    view.sent_ns = view.t0_ns;
    view.resource = resource;
  }

  TestEnvelope(const TestEnvelope&) = delete;
  TestEnvelope& operator=(const TestEnvelope&) = delete;

  TestEnvelope& spans(size_t count) {
    span_views.resize(count);
    view.spans = span_views;
    return *this;
  }

  TestEnvelope& account(std::string_view name, uint64_t value) {
    accounts.emplace_back(name, value);
    view.accounts = accounts;
    return *this;
  }

  TestEnvelope& life(wire::LifeEvent event) {
    view.life = event;
    return *this;
  }

  TestEnvelope& every_ms(uint64_t ms) {
    view.every_ms = ms;
    return *this;
  }

  std::string resource;
  std::vector<wire::SpanView> span_views;
  std::vector<std::pair<std::string_view, uint64_t>> accounts;
  wire::EnvelopeView view;
};

}  // namespace insight
