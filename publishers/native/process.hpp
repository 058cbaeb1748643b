// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include <pthread.h>

#include "bus/base/mutex.hpp"
#include "publishers/native/cells.hpp"

namespace insight::native {

class Core;
class Sender;

/// What all publishers of a process share: the cells, the one lock of every slow path, and what
/// must happen when threads end, the process forks or exits.
///
/// The one exception to "no globals": fork, exit and the end of a thread belong to the process and
/// carry no context.  Never destroyed, so that calls from late destructors find it.  Thread-safe.
class Process {
 public:
  /// Made by the first call, which may throw.
  static Process& instance();

  /// The calling thread's record shall be folded when the thread ends.
  static void fold_at_exit(Thread* thread) noexcept;

  /// Never held across a send, so that fork, which takes it, waits for no socket.
  Mutex mutex;
  CellSpace cells INSIGHT_GUARDED_BY(mutex);

  void add(Core* core) INSIGHT_REQUIRES(mutex) { cores_.push_back(core); }

  void remove(Core* core) noexcept INSIGHT_REQUIRES(mutex) { std::erase(cores_, core); }

  /// In a forked child, once, before anything else is done under the lock: every publisher begins
  /// anew.
  void restart_after_fork() noexcept INSIGHT_REQUIRES(mutex);

  /// Keeps a flush thread's state that must never be destroyed: its thread is not in this process,
  /// or does not end.
  void abandon(std::shared_ptr<Sender> sender) noexcept INSIGHT_REQUIRES(mutex);

  /// True in a child that has recorded nothing yet.
  bool is_stale() const noexcept INSIGHT_REQUIRES(mutex) { return is_stale_; }

  /// How many forks lie between the first process and this one.
  uint64_t forks() const noexcept { return forks_.load(std::memory_order_relaxed); }

 private:
  Process();

  void before_fork() noexcept INSIGHT_TSA(no_thread_safety_analysis);
  void after_fork_in_parent() noexcept INSIGHT_TSA(no_thread_safety_analysis);
  void after_fork_in_child() noexcept INSIGHT_TSA(no_thread_safety_analysis);
  void close_all() noexcept;
  static void at_thread_exit(void* thread) noexcept;

  pthread_key_t thread_key_ = 0;
  std::atomic<uint64_t> forks_{0};
  bool is_stale_ INSIGHT_GUARDED_BY(mutex) = false;
  std::shared_ptr<Sender> abandoned_ INSIGHT_GUARDED_BY(mutex);
  std::vector<Core*> cores_ INSIGHT_GUARDED_BY(mutex);
};

/// Holds the process lock for a slow path of the application; in a forked child the first one
/// restarts the publishers.
class INSIGHT_TSA(scoped_lockable) ProcessLock {
 public:
  explicit ProcessLock(Process& process) INSIGHT_TSA(acquire_capability(process.mutex))
      : process_(process) {
    process_.mutex.lock();
    process_.restart_after_fork();
  }

  ~ProcessLock() INSIGHT_TSA(release_capability()) { process_.mutex.unlock(); }

  ProcessLock(const ProcessLock&) = delete;
  ProcessLock& operator=(const ProcessLock&) = delete;

 private:
  Process& process_;
};

}  // namespace insight::native
