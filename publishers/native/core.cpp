// SPDX-License-Identifier: Apache-2.0
#include "publishers/native/core.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "bus/base/clock.hpp"
#include "bus/base/text.hpp"
#include "publishers/native/sender.hpp"

namespace insight::native {

namespace {

Identity new_identity(const Settings& settings, Drops& drops, bool is_child) {
  Identity identity;
  random_bytes(std::as_writable_bytes(std::span(identity.inc.bytes)));
  identity.t0_ns = wall_now_ns();
  identity.resource = make_resource(settings, drops);
  identity.is_child = is_child;
  return identity;
}

}  // namespace

Core::Core(Process& owner, Settings given)
    : process(owner),
      settings(std::move(given)),
      table(this, owner.cells, accounts.drops),
      states(accounts.drops) {
  ProcessLock lock(process);
  identity_ = new_identity(settings, accounts.drops, false);
  process.add(this);
  start();
}

Core::~Core() {
  MutexLock lock(process.mutex);
  process.remove(this);
  table.give_back_cells();
  // Still there only in a forked child: the parent's.
  if (sender_ != nullptr) process.abandon(std::move(sender_));
  for (const auto& ring : rings_) ring->consumer_gone.store(true, std::memory_order_relaxed);
}

void Core::release() noexcept {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

void Core::start() noexcept {
  if (is_closed() || sender_ != nullptr) return;
  try {
    auto sender = std::make_shared<Sender>(*this, identity_);
    sender->start();
    sender_ = std::move(sender);
    needs_restart_.store(false, std::memory_order_release);
  } catch (const std::exception&) {
    accounts.drops.add(Drop::memory);  // no thread, no descriptor: the next slow path tries again
    needs_restart_.store(true, std::memory_order_relaxed);
  }
}

void Core::restart() noexcept {
  // The parent's thread does not exist here, and its sockets must not be touched: closing them
  // would end the parent's connections or wait for threads that are not there.
  if (sender_ != nullptr) process.abandon(std::move(sender_));
  rings_.clear();
  states.clear();  // the parent's, which ends them
  accounts.drops.clear();
  accounts.spans.store(0, std::memory_order_relaxed);
  accounts.spans_sent.store(0, std::memory_order_relaxed);
  accounts.envelopes_sent.store(0, std::memory_order_relaxed);
  accounts.bytes_sent.store(0, std::memory_order_relaxed);
  accounts.again.store(0, std::memory_order_relaxed);
  accounts.has_said_bye.store(false, std::memory_order_relaxed);
  table.restart();
  is_connected_ = false;
  try {
    identity_ = new_identity(settings, accounts.drops, true);
  } catch (const std::bad_alloc&) {
    is_closed_.store(true, std::memory_order_relaxed);  // never two processes under one identity
  }
  if (is_closed()) {
    needs_restart_.store(false, std::memory_order_relaxed);
  } else {
    start();
  }
}

void Core::restart_if_needed() noexcept {
  ProcessLock lock(process);
  start();
}

Instrument* Core::find_or_add(const MetricTable::Request& request, const Labels& labels) {
  ProcessLock lock(process);
  if (is_closed()) return nullptr;
  start();
  return table.find_or_add(request, labels);
}

Instrument* Core::child(const Instrument& parent, const Labels& labels) {
  ProcessLock lock(process);
  if (is_closed()) return nullptr;
  start();
  return table.child(parent, labels);
}

void Core::add(uint32_t cell, double n) noexcept {
  ProcessLock lock(process);
  start();
  process.cells.add(cell, n);
}

Thread* Core::ensure_thread() noexcept {
  if (!needs_restart()) {
    if (Thread* thread = this_thread()) return thread;
  }
  ProcessLock lock(process);
  start();
  return process.cells.ensure_thread();
}

SpanRing* Core::ring_of(Thread& thread) noexcept {
  for (const auto& ring : thread.rings) {
    if (ring->core == this && !ring->consumer_gone.load(std::memory_order_relaxed)) {
      return ring.get();
    }
  }
  MutexLock lock(process.mutex);
  std::erase_if(thread.rings, [](const auto& ring) {
    return ring->consumer_gone.load(std::memory_order_relaxed);
  });
  if (rings_.size() >= kMaxRings) return nullptr;
  try {
    auto ring = std::make_shared<SpanRing>(this);
    thread.rings.reserve(thread.rings.size() + 1);
    rings_.push_back(ring);
    thread.rings.push_back(std::move(ring));
    return thread.rings.back().get();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void Core::record(Thread& thread, std::string_view span) noexcept {
  accounts.spans.fetch_add(1, std::memory_order_relaxed);
  if (is_closed()) {
    accounts.drops.add(Drop::closed);
    return;
  }
  SpanRing* ring = ring_of(thread);
  if (ring == nullptr || !ring->ring.push(span)) {
    accounts.drops.add(Drop::span_buffer);
    return;
  }
  if (ring->ring.used() > SpanRing::kBytes / 2 &&
      !ring->wake_asked.exchange(true, std::memory_order_relaxed)) {
    MutexLock lock(process.mutex);
    if (sender_ != nullptr) sender_->wake();
  }
}

uint64_t Core::begin_state(const SpanRecord& span) {
  ProcessLock lock(process);
  if (is_closed()) return 0;
  start();
  const uint64_t id = states.begin(span);
  if (id != 0) accounts.spans.fetch_add(1, std::memory_order_relaxed);
  return id;
}

void Core::end_state(uint64_t id, const SpanRecord& span, uint64_t end_ns) noexcept {
  std::string encoded;
  try {
    span.encode(SpanWhat::end, end_ns, encoded);
  } catch (const std::bad_alloc&) {
    encoded.clear();  // it ends as it began
    accounts.drops.add(Drop::memory);
  }
  MutexLock lock(process.mutex);
  // One that close() has ended is counted already.
  if (!states.end(id, std::move(encoded), span.status, end_ns)) return;
  accounts.spans.fetch_add(1, std::memory_order_relaxed);
}

std::vector<std::shared_ptr<SpanRing>> Core::rings() {
  std::erase_if(rings_, [](const auto& ring) {
    // In this order: what was pushed before the thread ended is seen.
    return ring->producer_gone.load(std::memory_order_acquire) && ring->ring.used() == 0;
  });
  return rings_;
}

void Core::set_connection(bool is_connected, const std::string& endpoint) {
  is_connected_ = is_connected;
  endpoint_ = endpoint;
}

void Core::request_close(uint64_t deadline_ns) noexcept {
  MutexLock lock(process.mutex);
  if (process.is_stale() || sender_ == nullptr) return;
  sender_->request_close(mono_now_ns() + deadline_ns);
}

void Core::close(uint64_t deadline_ns) noexcept {
  std::shared_ptr<Sender> sender;
  bool is_first = false;
  const uint64_t deadline = mono_now_ns() + deadline_ns;
  {
    MutexLock lock(process.mutex);
    is_closed_.store(true, std::memory_order_relaxed);
    if (process.is_stale()) return;  // a child that recorded nothing: the thread is the parent's
    sender = sender_;
    if (sender == nullptr) return;
    is_first = !std::exchange(is_joined_, true);
    sender->request_close(deadline);
  }
  const bool is_done = sender->wait_done(deadline);
  if (!is_first) return;
  if (is_done) {
    sender->join();
  } else {
    // It waits for the system (a name server, as a rule).  It may go on: what it uses stays.
    sender->detach();
    retain();
  }
  MutexLock lock(process.mutex);
  for (const auto& ring : rings_) ring->consumer_gone.store(true, std::memory_order_relaxed);
  rings_.clear();
  is_connected_ = false;
  sender_ = nullptr;
  if (!is_done) process.abandon(std::move(sender));
}

PublisherStatus Core::status() const {
  PublisherStatus status;
  status.has_said_bye = accounts.has_said_bye.load(std::memory_order_relaxed);
  status.envelopes_sent = accounts.envelopes_sent.load(std::memory_order_relaxed);
  status.bytes_sent = accounts.bytes_sent.load(std::memory_order_relaxed);
  status.spans = accounts.spans.load(std::memory_order_relaxed);
  status.spans_sent = accounts.spans_sent.load(std::memory_order_relaxed);
  for (size_t i = 0; i < kDropCount; ++i) {
    if (const uint64_t n = accounts.drops.get(static_cast<Drop>(i)); n != 0) {
      status.drops.emplace_back(kDropNames[i].substr(5), n);
    }
  }
  MutexLock lock(process.mutex);
  status.is_connected = is_connected_;
  status.endpoint = endpoint_;
  status.series = table.size();
  return status;
}

}  // namespace insight::native
