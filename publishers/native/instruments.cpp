// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>

#include "publishers/native/core.hpp"
#include <insight/insight.hpp>

namespace insight {

namespace {

using native::Drop;
using native::Handle;
using native::Instrument;

Handle shared(Instrument* instrument) noexcept {
  if (instrument != nullptr) instrument->core->retain();
  return Handle(instrument);
}

Handle child(const Handle& parent, const Labels& labels) noexcept {
  if (parent.get() == nullptr) return Handle();
  native::Core& core = *parent.get()->core;
  try {
    return shared(core.child(*parent.get(), labels));
  } catch (const std::exception&) {
    core.accounts.drops.add(Drop::memory);
    return Handle();
  }
}

// What observe() does not always do is out of line and called last, so that it needs no stack of
// its own.

[[gnu::noinline]] void refuse(const Instrument& instrument) noexcept {
  instrument.core->accounts.drops.add(Drop::bad_value);
}

[[gnu::noinline]] void offer_exemplar(const native::CellPages& thread, const Instrument& instrument,
                                      double value) noexcept {
  if (!instrument.exemplar->wants(value)) return;
  const native::CurrentSpan* span = thread.current;
  if (span->is_over.load(std::memory_order_relaxed)) {
    span = static_cast<const native::Thread&>(thread).spans.innermost();
  }
  if (span != nullptr) instrument.exemplar->offer(value, span->context);
}

[[gnu::noinline]] void observe_slow(const native::CellPages& thread, const Instrument& instrument,
                                    uint32_t bucket, uint32_t sum, double value) noexcept {
  instrument.core->add(instrument.cell + bucket, 1);
  instrument.core->add(instrument.cell + sum, value);
  if (thread.current != nullptr) offer_exemplar(thread, instrument, value);
}

// A NaN of the application must not look like a gauge that nobody has set.
uint64_t gauge_bits(double value) noexcept {
  return std::bit_cast<uint64_t>(std::isnan(value) ? std::numeric_limits<double>::quiet_NaN()
                                                   : value);
}

}  // namespace

namespace native {

Handle::Handle(const Handle& other) noexcept : instrument_(other.instrument_) {
  if (instrument_ != nullptr) instrument_->core->retain();
}

Handle::~Handle() {
  if (instrument_ != nullptr) instrument_->core->release();
}

}  // namespace native

Counter::Counter(Handle handle) noexcept
    : handle_(std::move(handle)), cell_(handle_.get() == nullptr ? 0 : handle_.get()->cell) {}

void Counter::add_slow(double n) const noexcept {
  const Instrument* instrument = handle_.get();
  if (instrument == nullptr) return;
  if (n >= 0 && n <= std::numeric_limits<double>::max()) {
    instrument->core->add(cell_, n);
  } else {
    instrument->core->accounts.drops.add(Drop::bad_value);
  }
}

Counter Counter::with(const Labels& labels) const noexcept {
  return Counter(child(handle_, labels));
}

void Gauge::set(double value) const noexcept {
  Instrument* instrument = handle_.get();
  if (instrument == nullptr) return;
  if (instrument->core->needs_restart()) instrument->core->restart_if_needed();
  instrument->gauge.store(gauge_bits(value), std::memory_order_relaxed);
}

void Gauge::add(double difference) const noexcept {
  Instrument* instrument = handle_.get();
  if (instrument == nullptr) return;
  if (instrument->core->needs_restart()) instrument->core->restart_if_needed();
  uint64_t old = instrument->gauge.load(std::memory_order_relaxed);
  uint64_t bits;
  do {
    bits = gauge_bits((old == native::kUnset ? 0 : std::bit_cast<double>(old)) + difference);
  } while (!instrument->gauge.compare_exchange_weak(old, bits, std::memory_order_relaxed));
}

Gauge Gauge::with(const Labels& labels) const noexcept { return Gauge(child(handle_, labels)); }

Histogram::Histogram(Handle handle) noexcept : handle_(std::move(handle)) {
  const Instrument* instrument = handle_.get();
  if (instrument == nullptr) return;
  const native::Metric& metric = *instrument->label_set->metric;
  bounds_ = metric.bounds.data();
  bound_count_ = static_cast<uint32_t>(metric.bounds.size());
  cell_ = instrument->cell;
}

void Histogram::observe(double value) const noexcept {
  const Instrument* instrument = handle_.get();
  if (instrument == nullptr) return;
  if (!std::isfinite(value)) return refuse(*instrument);
  // Counting the bounds below the value has no branch to mispredict, and few enough of them are
  // counted at once; for many the search halves first.
  const double* first = bounds_;
  uint32_t left = bound_count_;
  while (left > 32) {
    const uint32_t half = left / 2;
    first = first[half - 1] < value ? first + half : first;
    left -= half;
  }
  uint32_t below = 0;
  for (uint32_t i = 0; i < left; ++i) below += first[i] < value ? 1 : 0;
  const uint32_t bucket = static_cast<uint32_t>(first - bounds_) + below;

  const native::CellPages* thread = native::thread_cells;
  double* page = thread->pages[cell_ / native::kCellsPerPage];
  if (page == nullptr) [[unlikely]] {
    return observe_slow(*thread, *instrument, bucket, bound_count_ + 1, value);
  }
  double* cells = page + cell_ % native::kCellsPerPage;
  const std::atomic_ref<double> count(cells[bucket]);
  const std::atomic_ref<double> sum(cells[bound_count_ + 1]);
  count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  sum.store(sum.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  // After the cells, which are read after it: no exemplar is sent before its observation.
  if (thread->current != nullptr) [[unlikely]]
    offer_exemplar(*thread, *instrument, value);
}

Histogram Histogram::with(const Labels& labels) const noexcept {
  return Histogram(child(handle_, labels));
}

}  // namespace insight
