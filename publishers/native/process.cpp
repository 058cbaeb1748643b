// SPDX-License-Identifier: Apache-2.0
#include "publishers/native/process.hpp"

#include <cstdlib>
#include <new>
#include <stdexcept>
#include <utility>

#include "publishers/native/core.hpp"
#include "publishers/native/sender.hpp"

namespace insight::native {

namespace {

// Set once, before the hooks that read it are registered.
Process* the_process = nullptr;

}  // namespace

Process& Process::instance() {
  static Process* process = new Process;
  return *process;
}

Process::Process() {
  if (pthread_key_create(&thread_key_, &Process::at_thread_exit) != 0) {
    throw std::runtime_error("no thread-specific key left");
  }
  the_process = this;
  pthread_atfork([] { the_process->before_fork(); }, [] { the_process->after_fork_in_parent(); },
                 [] { the_process->after_fork_in_child(); });
  std::atexit([] { the_process->close_all(); });
}

void Process::fold_at_exit(Thread* thread) noexcept {
  // A key and not a thread_local destructor: it runs after those, which may still record, and again
  // when one of its own kind records after it.
  pthread_setspecific(the_process->thread_key_, thread);
}

void Process::at_thread_exit(void* thread) noexcept {
  MutexLock lock(the_process->mutex);
  leave_thread();
  the_process->cells.fold(static_cast<Thread*>(thread));
}

void Process::before_fork() noexcept { mutex.lock(); }

void Process::after_fork_in_parent() noexcept { mutex.unlock(); }

// As little as possible: most children call exec, and what is not touched is not copied.
void Process::after_fork_in_child() noexcept {
  forks_.fetch_add(1, std::memory_order_relaxed);
  is_stale_ = true;
  leave_thread();
  pthread_setspecific(thread_key_, nullptr);
  for (Core* core : cores_) core->expect_restart();
  mutex.unlock();
}

void Process::restart_after_fork() noexcept {
  if (!is_stale_) return;
  is_stale_ = false;
  cells.forget_all();
  for (Core* core : cores_) core->restart();
}

void Process::abandon(std::shared_ptr<Sender> sender) noexcept {
  sender->previous = std::move(abandoned_);
  abandoned_ = std::move(sender);
}

void Process::close_all() noexcept {
  std::vector<Core*> cores;
  {
    MutexLock lock(mutex);
    if (is_stale_) return;  // a child that recorded nothing has nothing to say
    try {
      cores = cores_;
    } catch (const std::bad_alloc&) {
      return;
    }
    for (Core* core : cores) core->retain();
  }
  // All together, so that the deadlines do not add up.
  for (Core* core : cores) core->request_close(core->exit_deadline());
  for (Core* core : cores) {
    core->close(core->exit_deadline());
    core->release();
  }
}

}  // namespace insight::native
