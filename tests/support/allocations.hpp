// SPDX-License-Identifier: Apache-2.0
// Counts what operator new gives out.  Include it in one file of a program: it replaces operators.
#pragma once

// The runtime of ThreadSanitizer has the allocator for itself.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define INSIGHT_NO_COUNTING
#endif
#elif defined(__SANITIZE_THREAD__)
#define INSIGHT_NO_COUNTING
#endif
#ifndef INSIGHT_NO_COUNTING

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace insight::test {

inline std::atomic<uint64_t> allocations{0};
inline std::atomic<uint64_t> allocated_bytes{0};

}  // namespace insight::test

// Not inlined: g++ would see free() take what operator new gave, and call it a mismatch.
[[gnu::noinline]] void* operator new(size_t bytes) {
  insight::test::allocations.fetch_add(1, std::memory_order_relaxed);
  insight::test::allocated_bytes.fetch_add(bytes, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}

[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  insight::test::allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(bytes);
}

[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }

[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

#endif
