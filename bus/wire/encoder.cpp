// SPDX-License-Identifier: Apache-2.0
#include "bus/wire/encoder.hpp"

#include <cmath>
#include <string>

#include "bus/wire/limits.hpp"
#include "bus/wire/msgpack_packer.hpp"

namespace insight::wire {
namespace {

template <size_t N>
std::string_view view(const std::array<unsigned char, N>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), N};
}

// As an integer where that says the same: 1 to 5 bytes instead of 9 for most counters.
void append_number(std::string& out, double value) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (value >= 0 && value <= kExact && value == std::floor(value) && !std::signbit(value)) {
    packer_to(out).pack_uint64(uint64_t(value));
  } else if (value < 0 && value >= -kExact && value == std::ceil(value)) {
    packer_to(out).pack_int64(int64_t(value));
  } else {
    append_float64(out, value);
  }
}

void append_scalar(std::string& out, const std::string& text) { append_str(out, text); }

void append_scalar(std::string& out, std::string_view text) { append_str(out, text); }

void append_scalar(std::string& out, int64_t value) { packer_to(out).pack_int64(value); }

void append_scalar(std::string& out, uint64_t value) { packer_to(out).pack_uint64(value); }

// Attributes keep their type: 2.0 stays a float.
void append_scalar(std::string& out, double value) { append_float64(out, value); }

void append_scalar(std::string& out, bool value) {
  value ? packer_to(out).pack_true() : packer_to(out).pack_false();
}

void append_attributes(std::string& out, std::span<const Attribute> attributes) {
  packer_to(out).pack_map(uint32_t(attributes.size()));
  for (const Attribute& attribute : attributes) {
    append_str(out, attribute.key);
    std::visit([&](const auto& value) { append_scalar(out, value); }, attribute.value);
  }
}

void put_big_endian(char* at, uint64_t value, int width) {
  for (int i = 0; i < width; ++i) at[i] = char(value >> (8 * (width - 1 - i)));
}

// An unsigned integer of 9 bytes, whatever its value; gives the place to patch.
size_t append_fixed_uint(std::string& out) {
  out.push_back(char(0xcf));
  out.append(8, '\0');
  return out.size() - 8;
}

// The header of an array whose length is patched later; gives the place to patch.
size_t append_fixed_array(std::string& out) {
  out.push_back(char(0xdd));
  out.append(4, '\0');
  return out.size() - 4;
}

std::string_view name_of(LifeEvent life) {
  switch (life) {
    case LifeEvent::hello:
      return "hello";
    case LifeEvent::beat:
      return "beat";
    case LifeEvent::bye:
      return "bye";
    case LifeEvent::none:
      break;
  }
  return {};
}

}  // namespace

std::string encode_family(const Family& family) {
  const bool has_bounds = !family.bounds.empty();
  const bool has_merge = family.merge != GaugeMode::last;
  const uint32_t options = uint32_t(family.delta) + uint32_t(has_merge) + uint32_t(has_bounds);
  std::string out;
  packer_to(out).pack_array(options > 0 ? 6 : 5);
  append_str(out, family.name);
  append_str(out, to_string(family.kind));
  packer_to(out).pack_array(uint32_t(family.label_keys.size()));
  for (const std::string& key : family.label_keys) append_str(out, key);
  append_str(out, family.unit);
  append_str(out, family.help);
  if (options == 0) return out;
  packer_to(out).pack_map(options);
  if (family.delta) {
    append_str(out, "delta");
    packer_to(out).pack_true();
  }
  if (has_merge) {
    append_str(out, "merge");
    append_str(out, to_string(family.merge));
  }
  if (has_bounds) {
    append_str(out, "bounds");
    packer_to(out).pack_array(uint32_t(family.bounds.size()));
    for (double bound : family.bounds) append_number(out, bound);
  }
  return out;
}

std::string encode_labels(std::span<const std::string_view> values) {
  std::string out;
  packer_to(out).pack_array(uint32_t(values.size()));
  for (std::string_view value : values) append_str(out, value);
  return out;
}

std::string encode_resource(const Resource& resource) {
  std::string out;
  packer_to(out).pack_map(uint32_t(resource.attributes.size()));
  for (const auto& [key, value] : resource.attributes) {
    append_str(out, key);
    std::visit([&](const auto& scalar) { append_scalar(out, scalar); }, value);
  }
  return out;
}

void encode_span(const Span& span, std::string& out) {
  const bool has_links = !span.links.empty();
  const bool has_events = has_links || !span.events.empty();
  packer_to(out).pack_array(10 + uint32_t(has_events) + uint32_t(has_links));
  append_str(out, to_string(span.what));
  append_bin(out, view(span.trace_id));
  append_bin(out, view(span.span_id));
  if (span.has_parent) {
    append_bin(out, view(span.parent_id));
  } else {
    packer_to(out).pack_nil();
  }
  append_str(out, span.name);
  append_str(out, span.lane);
  packer_to(out).pack_uint64(span.start_ns);
  if (span.end_ns != 0) {
    packer_to(out).pack_uint64(span.end_ns);
  } else {
    packer_to(out).pack_nil();
  }
  packer_to(out).pack_uint64(uint64_t(span.status));
  append_attributes(out, span.attributes);
  if (!has_events) return;
  packer_to(out).pack_array(uint32_t(span.events.size()));
  for (const SpanEvent& event : span.events) {
    packer_to(out).pack_array(3);
    packer_to(out).pack_uint64(event.time_ns);
    append_str(out, event.name);
    append_attributes(out, event.attributes);
  }
  if (!has_links) return;
  packer_to(out).pack_array(uint32_t(span.links.size()));
  for (const SpanLink& link : span.links) {
    packer_to(out).pack_array(3);
    append_bin(out, view(link.trace_id));
    append_bin(out, view(link.span_id));
    append_attributes(out, link.attributes);
  }
}

void EnvelopeWriter::start(const EnvelopeHead& head) {
  message_.clear();
  elements_at_ = points_at_ = 0;
  elements_ = points_ = 0;
  records_ = 0;
  keys_ = 0;
  const auto key = [this](std::string_view name) {
    append_str(message_, name);
    ++keys_;
  };

  message_.push_back(char(0x80));  // a map; its length is patched
  key("v"), packer_to(message_).pack_uint64(kVersion);
  key("inc"), append_bin(message_, head.inc.view());
  key("seq"), packer_to(message_).pack_uint64(head.seq);
  key("t0"), packer_to(message_).pack_uint64(head.t0_ns);
  key("sent"), sent_at_ = append_fixed_uint(message_);
  key("mono"), mono_at_ = append_fixed_uint(message_);
  key("res"), append_bin(message_, head.resource);
  if (head.boot) key("boot"), append_bin(message_, view(*head.boot));
  if (head.oldest_ns != 0) key("old"), packer_to(message_).pack_uint64(head.oldest_ns);
  if (head.every_ms != 0) key("every"), packer_to(message_).pack_uint64(head.every_ms);
  if (head.life != LifeEvent::none) key("life"), append_str(message_, name_of(head.life));
  if (head.accounts.empty()) return;
  key("acc"), packer_to(message_).pack_map(uint32_t(head.accounts.size()));
  for (const auto& [name, count] : head.accounts) {
    append_str(message_, name);
    packer_to(message_).pack_uint64(count);
  }
}

void EnvelopeWriter::begin_body(std::string_view key) {
  if (elements_at_ != 0) return;
  append_str(message_, key);
  ++keys_;
  elements_at_ = append_fixed_array(message_);
}

void EnvelopeWriter::close_family() {
  if (points_at_ != 0) put_big_endian(&message_[points_at_], points_, 4);
  points_at_ = 0;
  points_ = 0;
}

void EnvelopeWriter::family(std::string_view family_bytes) {
  begin_body("met");
  close_family();
  packer_to(message_).pack_array(2);
  append_bin(message_, family_bytes);
  points_at_ = append_fixed_array(message_);
  ++elements_;
}

void EnvelopeWriter::point(std::string_view label_bytes, double value) {
  packer_to(message_).pack_array(2);
  append_bin(message_, label_bytes);
  append_number(message_, value);
  ++points_;
  ++records_;
}

void EnvelopeWriter::point(std::string_view label_bytes, const HistogramValue& value,
                           const Exemplar* exemplar) {
  const bool has_range = !std::isnan(value.min) && !std::isnan(value.max);
  packer_to(message_).pack_array(exemplar != nullptr ? 4 : 2);
  append_bin(message_, label_bytes);
  packer_to(message_).pack_array(has_range ? 5 : 3);
  packer_to(message_).pack_uint64(value.count);
  append_number(message_, value.sum);
  packer_to(message_).pack_array(uint32_t(value.buckets.size()));
  for (uint64_t count : value.buckets) packer_to(message_).pack_uint64(count);
  if (has_range) {
    append_number(message_, value.min);
    append_number(message_, value.max);
  }
  if (exemplar != nullptr) {
    packer_to(message_).pack_nil();  // the time of the point: when the envelope is sent
    packer_to(message_).pack_array(4);
    append_number(message_, exemplar->value);
    packer_to(message_).pack_uint64(exemplar->time_ns);
    append_bin(message_, view(exemplar->trace_id));
    append_bin(message_, view(exemplar->span_id));
  }
  ++points_;
  ++records_;
}

void EnvelopeWriter::span(std::string_view encoded) {
  begin_body("spn");
  message_.append(encoded);
  ++elements_;
  ++records_;
}

std::string_view EnvelopeWriter::finish(const Now& now) {
  close_family();
  if (elements_at_ != 0) put_big_endian(&message_[elements_at_], elements_, 4);
  message_[0] = char(0x80 | keys_);
  put_big_endian(&message_[sent_at_], now.wall_ns, 8);
  put_big_endian(&message_[mono_at_], now.mono_ns, 8);
  return message_;
}

}  // namespace insight::wire
