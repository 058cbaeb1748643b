// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

// std::mutex of libstdc++ carries no annotations, so clang's -Wthread-safety cannot check it.
#if defined(__clang__)
#define INSIGHT_TSA(x) __attribute__((x))
#else
#define INSIGHT_TSA(x)
#endif
#define INSIGHT_GUARDED_BY(x) INSIGHT_TSA(guarded_by(x))
#define INSIGHT_REQUIRES(...) INSIGHT_TSA(requires_capability(__VA_ARGS__))
#define INSIGHT_EXCLUDES(...) INSIGHT_TSA(locks_excluded(__VA_ARGS__))

namespace insight {

/// A mutex that clang can check.  Thread-safe.
class INSIGHT_TSA(capability("mutex")) Mutex {
 public:
  void lock() INSIGHT_TSA(acquire_capability()) { mutex_.lock(); }

  void unlock() INSIGHT_TSA(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

/// Holds a Mutex for the length of a scope.
class INSIGHT_TSA(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) INSIGHT_TSA(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.lock();
  }

  ~MutexLock() INSIGHT_TSA(release_capability()) { mutex_.unlock(); }

  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

/// A condition to wait for under a Mutex that the caller holds.
class Condition {
 public:
  void notify() noexcept { condition_.notify_all(); }

  /// Returns when notified, spuriously, or after `timeout`; the caller checks its predicate again.
  void wait_for(Mutex& mutex, std::chrono::nanoseconds timeout) INSIGHT_REQUIRES(mutex) {
    condition_.wait_for(mutex, timeout);
  }

 private:
  std::condition_variable_any condition_;
};

}  // namespace insight
