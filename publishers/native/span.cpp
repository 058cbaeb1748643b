// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "bus/base/clock.hpp"
#include "publishers/native/core.hpp"
#include <insight/insight.hpp>

namespace insight {

namespace native {

namespace {

// The thread that it was current on may be another one, and learns of it when it looks.
void leave(std::shared_ptr<CurrentSpan>& current) noexcept {
  if (current == nullptr) return;
  current->is_over.store(true, std::memory_order_relaxed);
  current.reset();
  if (Thread* thread = this_thread()) thread->forget_ended_spans();
}

}  // namespace

/// A span that has not ended.
struct SpanData {
  SpanData(Core& owner, std::string_view name, std::string_view lane)
      : core(owner), record(name, lane) {
    core.retain();
  }

  ~SpanData() {
    native::leave(current);
    core.release();
  }

  SpanData(const SpanData&) = delete;
  SpanData& operator=(const SpanData&) = delete;

  void leave() noexcept { native::leave(current); }

  Drops& drops() const noexcept { return core.accounts.drops; }

  // By the monotonic clock: a step of the wall clock must not make a span long or negative.
  uint64_t now_ns() const noexcept { return record.start_ns + (mono_now_ns() - start_mono_ns); }

  Core& core;
  SpanRecord record;
  uint64_t forks = 0;
  uint64_t start_mono_ns = 0;
  uint64_t state = 0;                    // 0: a span
  std::shared_ptr<CurrentSpan> current;  // null: not current
};

}  // namespace native

namespace {

using native::Core;
using native::CurrentSpan;
using native::Drop;
using native::SpanData;
using native::Thread;

enum class Form : uint8_t { span, state };

void count_dropped(Core& core, Drop reason) noexcept {
  core.accounts.spans.fetch_add(1, std::memory_order_relaxed);
  core.accounts.drops.add(reason);
}

void record(SpanData& data) {
  const uint64_t end_ns = data.now_ns();
  if (data.state != 0) {
    data.core.end_state(data.state, data.record, end_ns);
    return;
  }
  Thread* thread = data.core.ensure_thread();
  if (thread == nullptr) {
    count_dropped(data.core, Drop::span_buffer);
    return;
  }
  std::string& encoded = thread->scratch;
  encoded.assign(reinterpret_cast<const char*>(&end_ns), sizeof end_ns);
  data.record.encode(SpanWhat::span, end_ns, encoded);
  data.core.record(*thread, encoded);
}

// Null when nothing shall be recorded.
std::unique_ptr<SpanData> begin(Core* core, std::string_view name, const SpanOptions& options,
                                Form form) noexcept {
  if (core == nullptr || core->is_closed()) return nullptr;
  try {
    Thread* thread = core->ensure_thread();
    if (thread == nullptr) throw std::bad_alloc();
    auto data = std::make_unique<SpanData>(*core, name, options.lane);
    data->forks = core->process.forks();
    const Now now = read_clocks();
    const auto ago = static_cast<uint64_t>(std::max<int64_t>(options.ago.count(), 0));
    data->start_mono_ns = now.mono_ns - ago;  // may wrap: only the difference counts
    native::SpanRecord& span = data->record;
    span.start_ns = now.wall_ns - std::min(ago, now.wall_ns - 1);
    const CurrentSpan* around = thread->spans.innermost();
    const SpanContext parent =
        options.parent || around == nullptr ? options.parent : around->context;
    span.has_parent = static_cast<bool>(parent);
    span.context.trace_id = span.has_parent ? parent.trace_id : thread->ids.trace_id();
    span.context.span_id = thread->ids.span_id();
    span.parent_id = parent.span_id;
    for (const auto& [key, value] : options.attributes) span.attribute(key, value, data->drops());
    data->current = thread->make_current(span.context);
    if (form == Form::state) data->state = core->begin_state(span);
    return data;
  } catch (const std::exception&) {
    core->accounts.drops.add(Drop::memory);
    return nullptr;
  }
}

}  // namespace

ActiveSpan Publisher::span(std::string_view name, const SpanOptions& options) noexcept {
  return ActiveSpan(begin(core_, name, options, Form::span));
}

ActiveSpan Publisher::state(std::string_view name, const SpanOptions& options) noexcept {
  return ActiveSpan(begin(core_, name, options, Form::state));
}

ActiveSpan::ActiveSpan() noexcept = default;

ActiveSpan::ActiveSpan(std::unique_ptr<SpanData> data) noexcept : data_(std::move(data)) {}

ActiveSpan::ActiveSpan(ActiveSpan&& other) noexcept : data_(std::move(other.data_)) { detach(); }

ActiveSpan& ActiveSpan::operator=(ActiveSpan&& other) noexcept {
  if (this != &other) {
    end();
    data_ = std::move(other.data_);
    detach();
  }
  return *this;
}

ActiveSpan::~ActiveSpan() { end(); }

void ActiveSpan::attribute(std::string_view key, const SpanValue& value) noexcept {
  if (data_ == nullptr) return;
  try {
    data_->record.attribute(key, value, data_->drops());
  } catch (const std::exception&) {
    data_->drops().add(Drop::span_attribute);
  }
}

void ActiveSpan::event(std::string_view name, std::span<const SpanAttribute> attributes) noexcept {
  if (data_ == nullptr) return;
  try {
    data_->record.event(data_->now_ns(), name, attributes, data_->drops());
  } catch (const std::exception&) {
    data_->drops().add(Drop::span_event);
  }
}

void ActiveSpan::link(const SpanContext& to, std::span<const SpanAttribute> attributes) noexcept {
  if (data_ == nullptr) return;
  try {
    data_->record.link(to, attributes, data_->drops());
  } catch (const std::exception&) {
    data_->drops().add(Drop::span_link);
  }
}

void ActiveSpan::succeed() noexcept {
  if (data_ != nullptr) data_->record.status = SpanStatus::ok;
}

void ActiveSpan::fail() noexcept {
  if (data_ != nullptr) data_->record.status = SpanStatus::error;
}

void ActiveSpan::detach() noexcept {
  if (data_ != nullptr) data_->leave();
}

void ActiveSpan::end() noexcept {
  if (data_ == nullptr) return;
  const std::unique_ptr<SpanData> data = std::move(data_);
  if (data->forks != data->core.process.forks()) return;  // the parent's, which records it
  try {
    record(*data);
  } catch (const std::exception&) {
    count_dropped(data->core, Drop::span_buffer);
  }
}

SpanContext ActiveSpan::context() const noexcept {
  return data_ == nullptr ? SpanContext{} : data_->record.context;
}

SpanScope::SpanScope(const SpanContext& context) noexcept {
  try {
    native::Thread* thread = native::this_thread();
    if (thread == nullptr) {
      native::Process& process = native::Process::instance();
      native::ProcessLock lock(process);
      thread = process.cells.ensure_thread();
    }
    if (thread != nullptr) current_ = thread->make_current(context);
  } catch (const std::exception&) {
    current_ = nullptr;  // no memory: what is current stays
  }
}

SpanScope::~SpanScope() { native::leave(current_); }

SpanContext SpanScope::current() noexcept {
  const Thread* thread = native::this_thread();
  const CurrentSpan* span = thread == nullptr ? nullptr : thread->spans.innermost();
  return span == nullptr ? SpanContext{} : span->context;
}

}  // namespace insight
