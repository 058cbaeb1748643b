// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include <insight/insight.hpp>

namespace insight::native {

/// That a span is current on a thread.  The context never changes; `is_over` is set by any thread.
struct CurrentSpan {
  explicit CurrentSpan(const SpanContext& span) : context(span) {}

  const SpanContext context;  ///< all zero: hides what is current around it
  std::atomic<bool> is_over{false};
};

/// What is current on one thread, the innermost last.  Thread-bound.
///
/// A span may end on another thread, which must not touch this list: it only says so in `is_over`,
/// and the thread looks past it and lets go of it when a span begins or ends here the next time.
class CurrentSpans {
 public:
  static constexpr size_t kMax = 64;

  /// Null when too many are current.
  std::shared_ptr<CurrentSpan> push(const SpanContext& context) {
    forget_ended();
    if (spans_.size() >= kMax) return nullptr;
    spans_.push_back(std::make_shared<CurrentSpan>(context));
    return spans_.back();
  }

  void forget_ended() noexcept {
    std::erase_if(spans_,
                  [](const auto& span) { return span->is_over.load(std::memory_order_relaxed); });
  }

  /// The innermost that is not over; null when there is none, or when it hides the others.
  const CurrentSpan* innermost() const noexcept {
    for (auto span = spans_.rbegin(); span != spans_.rend(); ++span) {
      if ((*span)->is_over.load(std::memory_order_relaxed)) continue;
      return (*span)->context ? span->get() : nullptr;
    }
    return nullptr;
  }

 private:
  std::vector<std::shared_ptr<CurrentSpan>> spans_;
};

}  // namespace insight::native
