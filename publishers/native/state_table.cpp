// SPDX-License-Identifier: Apache-2.0
#include "publishers/native/state_table.hpp"

#include <algorithm>
#include <utility>

namespace insight::native {

namespace {

constexpr size_t kRecordsPerEnvelope = 1'000;
constexpr size_t kBytesPerEnvelope = 64 << 10;
constexpr size_t kStatesPerGather = 1'000;  // bounds how long the lock is held
constexpr size_t kOverhead = 512;           // what a state takes beside its text

}  // namespace

uint64_t StateTable::begin(const SpanRecord& record) {
  const size_t bytes = kOverhead + record.bytes();
  if (states_.size() >= kMaxStates || bytes_ + bytes > kMaxBytes) {
    drops_.add(Drop::state_limit);
    return 0;
  }
  states_.emplace(++last_id_, State{.record = record, .bytes = bytes});
  bytes_ += bytes;
  return last_id_;
}

bool StateTable::end(uint64_t id, std::string encoded, SpanStatus status,
                     uint64_t end_ns) noexcept {
  const auto found = states_.find(id);
  if (found == states_.end()) return false;
  State& state = found->second;
  state.record.status = status;
  state.end_ns = end_ns;
  if (bytes_ + encoded.size() > kMaxBytes) {
    drops_.add(Drop::span_attribute);
    return true;
  }
  bytes_ += encoded.size();
  state.bytes += encoded.size();
  state.end = std::move(encoded);
  return true;
}

uint64_t StateTable::gather(const When& when, uint64_t after, std::vector<Due>& due) {
  size_t bytes = 0;
  size_t looked_at = 0;
  const auto add = [&](uint64_t id, SpanWhat what, const State& state, uint64_t time_ns,
                       bool is_new) {
    Due& one = due.emplace_back(Due{.id = id, .what = what, .time_ns = time_ns, .is_new = is_new});
    if (what == SpanWhat::end && !state.end.empty()) {
      one.encoded = state.end;
    } else {
      state.record.encode(what, what == SpanWhat::end ? time_ns : 0, one.encoded);
    }
    bytes += one.encoded.size();
  };
  for (auto at = states_.upper_bound(after); at != states_.end(); ++at) {
    if (due.size() + 2 > kRecordsPerEnvelope || bytes > kBytesPerEnvelope ||
        ++looked_at > kStatesPerGather) {
      return after;
    }
    after = at->first;
    const State& state = at->second;
    if (state.sent_mono_ns == 0) {
      add(after, SpanWhat::begin, state, state.record.start_ns, false);
    } else if (state.end_ns == 0 && when.close_wall_ns == 0 &&
               (state.sent_mono_ns < when.all_before_mono_ns ||
                when.now_mono_ns - state.sent_mono_ns >= when.refresh_ns)) {
      add(after, SpanWhat::open, state, 0, true);
    }
    if (state.end_ns != 0) {
      add(after, SpanWhat::end, state, state.end_ns, false);
    } else if (when.close_wall_ns != 0) {
      State closed = state;
      closed.record.attribute("insight.reason", "publisher_closed", drops_);
      add(after, SpanWhat::end, closed, std::max(when.close_wall_ns, state.record.start_ns), true);
    }
  }
  return 0;
}

void StateTable::sent(const std::vector<Due>& due, uint64_t now_mono_ns) noexcept {
  for (const Due& one : due) {
    const auto found = states_.find(one.id);
    if (found == states_.end()) continue;
    if (one.what != SpanWhat::end) {
      found->second.sent_mono_ns = now_mono_ns;
    } else {
      bytes_ -= found->second.bytes;
      states_.erase(found);
    }
  }
}

void StateTable::clear() noexcept {
  states_.clear();
  bytes_ = 0;
}

}  // namespace insight::native
