// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>
#include <variant>

#include "bus/base/clock.hpp"
#include "bus/base/text.hpp"
#include "bus/model/batch.hpp"
#include "bus/wire/encoder.hpp"
#include "bus/wire/limits.hpp"
#include "publishers/native/core.hpp"
#include <insight/insight.hpp>

namespace insight {

namespace native {

/// A span that has not ended.
struct SpanData {
  using Value = std::variant<std::string, int64_t, double, bool>;

  explicit SpanData(Core& owner) : core(owner) { core.retain(); }

  ~SpanData() { core.release(); }

  SpanData(const SpanData&) = delete;
  SpanData& operator=(const SpanData&) = delete;

  Core& core;
  uint64_t forks = 0;
  uint64_t start_mono_ns = 0;
  Span span;  // its views are filled when it ends
  std::string name;
  std::string lane;
  std::vector<std::pair<std::string, Value>> attributes;
};

}  // namespace native

namespace {

using native::Core;
using native::Drop;
using native::SpanData;

constexpr size_t kMaxSpanBytes = 64 << 10;

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

bool is_zero(std::span<const unsigned char> id) {
  return std::ranges::all_of(id, [](unsigned char byte) { return byte == 0; });
}

void set_attribute(SpanData* data, std::string_view key, SpanData::Value value) noexcept {
  if (data == nullptr) return;
  try {
    std::string name = bounded(key, wire::kMaxNameBytes);
    const auto same =
        std::ranges::find(data->attributes, name, &std::pair<std::string, SpanData::Value>::first);
    if (same != data->attributes.end()) {
      same->second = std::move(value);
    } else if (data->attributes.size() < wire::kMaxAttributes && !name.empty()) {
      data->attributes.emplace_back(std::move(name), std::move(value));
    } else {
      data->core.accounts.drops.add(Drop::span_attribute);
    }
  } catch (const std::exception&) {
    data->core.accounts.drops.add(Drop::span_attribute);
  }
}

void record(SpanData& data) {
  Core& core = data.core;
  native::Thread* thread = core.ensure_thread();
  if (thread == nullptr) {
    core.accounts.spans.fetch_add(1, std::memory_order_relaxed);
    core.accounts.drops.add(Drop::span_buffer);
    return;
  }
  Span& span = data.span;
  // By the monotonic clock: a step of the wall clock must not make a span long or negative.
  span.end_ns = span.start_ns + (mono_now_ns() - data.start_mono_ns);
  span.name = data.name;
  span.lane = data.lane;
  std::vector<Attribute> attributes;
  attributes.reserve(data.attributes.size());
  for (const auto& [key, value] : data.attributes) {
    attributes.push_back({key, std::visit([](const auto& v) { return AttributeValue(v); }, value)});
  }
  span.attributes = attributes;

  std::string& record = thread->scratch;
  record.assign(reinterpret_cast<const char*>(&span.end_ns), sizeof span.end_ns);
  wire::encode_span(span, record);
  if (record.size() > kMaxSpanBytes) {
    core.accounts.spans.fetch_add(1, std::memory_order_relaxed);
    core.accounts.drops.add(Drop::span_size);
    std::string().swap(record);
    return;
  }
  core.record(*thread, record);
}

}  // namespace

ActiveSpan Publisher::span(std::string_view name, const SpanOptions& options) noexcept {
  if (core_ == nullptr || core_->is_closed()) return ActiveSpan();
  try {
    native::Thread* thread = core_->ensure_thread();
    if (thread == nullptr) return ActiveSpan();
    auto data = std::make_unique<SpanData>(*core_);
    data->forks = core_->process.forks();
    const Now now = read_clocks();
    data->start_mono_ns = now.mono_ns;
    data->span.start_ns = now.wall_ns;
    data->span.span_id = thread->ids.span_id();
    data->span.has_parent = !is_zero(options.parent.trace_id) && !is_zero(options.parent.span_id);
    data->span.trace_id = data->span.has_parent ? options.parent.trace_id : thread->ids.trace_id();
    data->span.parent_id = options.parent.span_id;
    data->name = bounded(name, wire::kMaxNameBytes);
    data->lane = bounded(options.lane, wire::kMaxNameBytes);
    return ActiveSpan(std::move(data));
  } catch (const std::exception&) {
    core_->accounts.drops.add(Drop::memory);
    return ActiveSpan();
  }
}

ActiveSpan::ActiveSpan() noexcept = default;

ActiveSpan::ActiveSpan(std::unique_ptr<SpanData> data) noexcept : data_(std::move(data)) {}

ActiveSpan::ActiveSpan(ActiveSpan&& other) noexcept = default;

ActiveSpan& ActiveSpan::operator=(ActiveSpan&& other) noexcept {
  if (this != &other) {
    end();
    data_ = std::move(other.data_);
  }
  return *this;
}

ActiveSpan::~ActiveSpan() { end(); }

void ActiveSpan::attribute(std::string_view key, std::string_view value) noexcept {
  if (data_ == nullptr) return;
  try {
    set_attribute(data_.get(), key, bounded(value, wire::kMaxStringBytes));
  } catch (const std::exception&) {
    data_->core.accounts.drops.add(Drop::span_attribute);
  }
}

void ActiveSpan::attribute(std::string_view key, const char* value) noexcept {
  attribute(key, std::string_view(value == nullptr ? "" : value));
}

void ActiveSpan::attribute(std::string_view key, int64_t value) noexcept {
  set_attribute(data_.get(), key, value);
}

void ActiveSpan::attribute(std::string_view key, double value) noexcept {
  set_attribute(data_.get(), key, value);
}

void ActiveSpan::attribute(std::string_view key, bool value) noexcept {
  set_attribute(data_.get(), key, value);
}

void ActiveSpan::succeed() noexcept {
  if (data_ != nullptr) data_->span.status = SpanStatus::ok;
}

void ActiveSpan::fail() noexcept {
  if (data_ != nullptr) data_->span.status = SpanStatus::error;
}

void ActiveSpan::end() noexcept {
  if (data_ == nullptr) return;
  const std::unique_ptr<SpanData> data = std::move(data_);
  if (data->forks != data->core.process.forks()) return;  // the parent's, which records it
  try {
    record(*data);
  } catch (const std::exception&) {
    data->core.accounts.spans.fetch_add(1, std::memory_order_relaxed);
    data->core.accounts.drops.add(Drop::span_buffer);
  }
}

SpanContext ActiveSpan::context() const noexcept {
  if (data_ == nullptr) return {};
  return {.trace_id = data_->span.trace_id, .span_id = data_->span.span_id};
}

}  // namespace insight
