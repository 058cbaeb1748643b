// SPDX-License-Identifier: Apache-2.0
#include "publishers/native/span_record.hpp"

#include <algorithm>
#include <type_traits>

#include "bus/base/text.hpp"
#include "bus/wire/encoder.hpp"
#include "bus/wire/limits.hpp"

namespace insight::native {

namespace {

// The most that msgpack adds to the texts of each.
constexpr size_t kSpanBytes = 100;
constexpr size_t kAttributeBytes = 16;
constexpr size_t kEventBytes = 20;
constexpr size_t kLinkBytes = 40;

// The longest beginning of at most `limit` bytes that does not end inside of a character.
std::string_view cut(std::string_view text, size_t limit) {
  if (text.size() <= limit) return text;
  size_t end = limit;
  while (end > 0 && limit - end < 3 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)
    --end;
  return text.substr(0, end);
}

// As UTF-8 of at most `limit` bytes.
std::string bounded(std::string_view text, size_t limit) {
  std::string clean = to_utf8(cut(text, limit));  // which may make it longer
  clean.resize(cut(clean, limit).size());
  return clean;
}

template <typename Attributes>
std::vector<Attribute> views(const Attributes& attributes) {
  std::vector<Attribute> result;
  result.reserve(attributes.size());
  for (const auto& [key, value] : attributes) {
    result.push_back({key, std::visit([](const auto& v) { return AttributeValue(v); }, value)});
  }
  return result;
}

}  // namespace

SpanRecord::SpanRecord(std::string_view name, std::string_view lane)
    : name_(bounded(name, wire::kMaxNameBytes)),
      lane_(bounded(lane, wire::kMaxNameBytes)),
      bytes_(kSpanBytes + name_.size() + lane_.size()) {}

bool SpanRecord::take(size_t bytes) noexcept {
  if (bytes_ + bytes > kMaxBytes) return false;
  bytes_ += bytes;
  return true;
}

bool SpanRecord::set(Attributes& attributes, std::string_view key, const SpanValue& given) {
  std::string name = bounded(key, wire::kMaxNameBytes);
  if (name.empty()) return false;
  Value value = std::visit(
      [](auto v) -> Value {
        if constexpr (std::is_same_v<decltype(v), std::string_view>) {
          return bounded(v, wire::kMaxStringBytes);
        } else {
          return v;
        }
      },
      given.get());
  const auto* text = std::get_if<std::string>(&value);
  const size_t bytes = kAttributeBytes + name.size() + (text == nullptr ? 0 : text->size());
  const auto same = std::ranges::find(attributes, name, &Attributes::value_type::first);
  if (same == attributes.end()) {
    if (attributes.size() >= wire::kMaxAttributes || !take(bytes)) return false;
    attributes.emplace_back(std::move(name), std::move(value));
    return true;
  }
  const auto* old = std::get_if<std::string>(&same->second);
  const size_t given_back = kAttributeBytes + name.size() + (old == nullptr ? 0 : old->size());
  bytes_ -= given_back;
  if (!take(bytes)) {
    bytes_ += given_back;
    return false;
  }
  same->second = std::move(value);
  return true;
}

void SpanRecord::set_all(Attributes& attributes, std::span<const SpanAttribute> given,
                         Drops& drops) {
  for (const SpanAttribute& attribute : given) {
    if (!set(attributes, attribute.key, attribute.value)) drops.add(Drop::span_attribute);
  }
}

void SpanRecord::attribute(std::string_view key, const SpanValue& value, Drops& drops) {
  if (!set(attributes_, key, value)) drops.add(Drop::span_attribute);
}

void SpanRecord::event(uint64_t time_ns, std::string_view name,
                       std::span<const SpanAttribute> attributes, Drops& drops) {
  std::string text = bounded(name, wire::kMaxNameBytes);
  if (events_.size() >= wire::kMaxEvents || !take(kEventBytes + text.size())) {
    drops.add(Drop::span_event);
    return;
  }
  events_.push_back({.time_ns = time_ns, .name = std::move(text), .attributes = {}});
  set_all(events_.back().attributes, attributes, drops);
}

void SpanRecord::link(const SpanContext& to, std::span<const SpanAttribute> attributes,
                      Drops& drops) {
  // An id of zeros would cost the whole span at the broker.
  if (!to || links_.size() >= wire::kMaxLinks || !take(kLinkBytes)) {
    drops.add(Drop::span_link);
    return;
  }
  links_.push_back({.to = to, .attributes = {}});
  set_all(links_.back().attributes, attributes, drops);
}

void SpanRecord::encode(SpanWhat what, uint64_t end_ns, std::string& out) const {
  Span span;
  span.what = what;
  span.status = status;
  span.has_parent = has_parent;
  span.trace_id = context.trace_id;
  span.span_id = context.span_id;
  span.parent_id = parent_id;
  span.name = name_;
  span.lane = lane_;
  span.start_ns = start_ns;
  span.end_ns = end_ns;
  const std::vector<Attribute> attributes = views(attributes_);
  span.attributes = attributes;
  // All attributes of events and links, kept until the span is encoded.
  std::vector<std::vector<Attribute>> kept;
  kept.reserve(events_.size() + links_.size());
  std::vector<SpanEvent> events;
  events.reserve(events_.size());
  for (const Event& event : events_) {
    kept.push_back(views(event.attributes));
    events.push_back({.time_ns = event.time_ns, .name = event.name, .attributes = kept.back()});
  }
  span.events = events;
  std::vector<SpanLink> links;
  links.reserve(links_.size());
  for (const Link& link : links_) {
    kept.push_back(views(link.attributes));
    links.push_back(
        {.trace_id = link.to.trace_id, .span_id = link.to.span_id, .attributes = kept.back()});
  }
  span.links = links;
  wire::encode_span(span, out);
}

}  // namespace insight::native
