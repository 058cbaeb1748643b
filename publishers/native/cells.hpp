// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "publishers/native/current_span.hpp"
#include "publishers/native/ids.hpp"
#include "publishers/native/span_ring.hpp"
#include <insight/insight.hpp>

namespace insight::native {

/// What one thread records into.  The pages are written by that thread alone and read by flush
/// threads; the rest is the thread's own.
struct Thread : CellPages {
  Ids ids;              ///< thread-bound
  std::string scratch;  ///< thread-bound: the span that is being encoded
  std::vector<std::shared_ptr<SpanRing>>
      rings;           ///< thread-bound: one for each publisher it sends spans to
  CurrentSpans spans;  ///< thread-bound

  /// Null when too many spans are current.
  std::shared_ptr<CurrentSpan> make_current(const SpanContext& context) {
    current = nullptr;  // push() forgets some, and may throw then
    auto span = spans.push(context);
    current = spans.innermost();
    return span;
  }

  void forget_ended_spans() noexcept {
    spans.forget_ended();
    current = spans.innermost();
  }
};

/// The thread's record; null until it has one.
Thread* this_thread() noexcept;

/// Makes the thread forget its record, which somebody else owns from now on.
void leave_thread() noexcept;

/// One double for each counter and histogram bucket, in as many copies as there are threads that
/// record: the total of a cell is the sum over the living threads and over what ended threads left.
///
/// The indices are shared by all publishers of the process.  Every method needs the process lock;
/// recording itself (Counter::add) does not.
class CellSpace {
 public:
  /// `count` neighbouring cells of one page, all zero; 0 when there are none left.  Cell 0 is never
  /// handed out: handles without an instrument write there.
  uint32_t take(uint32_t count);
  /// Nobody records into them any more.
  void give_back(uint32_t first, uint32_t count) noexcept;

  double total(uint32_t cell) const noexcept;

  /// Adds by the slow path: gives the calling thread its record and its page first.
  void add(uint32_t cell, double n) noexcept;

  /// The calling thread's record, made where there is none; null when there is no memory.
  Thread* ensure_thread() noexcept;

  /// A thread has ended: what it recorded stays, its memory does not.
  void fold(Thread* thread) noexcept;

  /// In a forked child: the records of the parent's threads go, all totals are 0.
  void forget_all() noexcept;

  size_t threads() const noexcept { return threads_.size(); }

 private:
  using Page = double*;

  std::vector<Thread*> threads_;
  CellPages ended_;  // what ended threads left; a page for every cell that is in use
  uint32_t next_ = 1;
  std::map<uint32_t, std::vector<uint32_t>> free_;  // first cells, by count
};

}  // namespace insight::native
