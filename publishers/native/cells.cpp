// SPDX-License-Identifier: Apache-2.0
#include "publishers/native/cells.hpp"

#include <algorithm>
#include <atomic>
#include <new>

#include <sys/mman.h>

#include "publishers/native/process.hpp"

namespace insight::native {

namespace {

constinit CellPages empty_pages;

constexpr size_t kPageBytes = kCellsPerPage * sizeof(double);

// By mmap: zero without being touched, so that a thread pays for the cells that it uses.
double* map_page() noexcept {
  void* page =
      mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return page == MAP_FAILED ? nullptr : static_cast<double*>(page);
}

void unmap_pages(CellPages& pages) noexcept {
  for (double*& page : pages.pages) {
    if (page != nullptr) munmap(page, kPageBytes);
    page = nullptr;
  }
}

double load(const double* page, uint32_t cell) noexcept {
  double& value = const_cast<double*>(page)[cell % kCellsPerPage];
  return std::atomic_ref<double>(value).load(std::memory_order_relaxed);
}

void store(double* page, uint32_t cell, double value) noexcept {
  std::atomic_ref<double>(page[cell % kCellsPerPage]).store(value, std::memory_order_relaxed);
}

}  // namespace

constinit thread_local CellPages* thread_cells = &empty_pages;

Thread* this_thread() noexcept {
  return thread_cells == &empty_pages ? nullptr : static_cast<Thread*>(thread_cells);
}

void leave_thread() noexcept { thread_cells = &empty_pages; }

uint32_t CellSpace::take(uint32_t count) {
  if (auto it = free_.find(count); it != free_.end() && !it->second.empty()) {
    const uint32_t first = it->second.back();
    it->second.pop_back();
    return first;
  }
  const uint32_t left = kCellsPerPage - next_ % kCellsPerPage;
  uint32_t first = next_;
  if (count > left) first += left;
  const size_t page = first / kCellsPerPage;
  if (count > kCellsPerPage || page >= kCellPages) return 0;
  if (ended_.pages[page] == nullptr) ended_.pages[page] = map_page();
  if (ended_.pages[page] == nullptr) return 0;
  // The rest of a page that is too short for a histogram will do for counters.
  for (uint32_t cell = next_; cell < first; ++cell) free_[1].push_back(cell);
  next_ = first + count;
  return first;
}

void CellSpace::give_back(uint32_t first, uint32_t count) noexcept {
  const size_t page = first / kCellsPerPage;
  for (uint32_t cell = first; cell < first + count; ++cell) {
    store(ended_.pages[page], cell, 0);
    for (Thread* thread : threads_) {
      if (double* own = thread->pages[page]) store(own, cell, 0);
    }
  }
  try {
    free_[count].push_back(first);
  } catch (const std::bad_alloc&) {
    return;  // these cells are not used again
  }
}

double CellSpace::total(uint32_t cell) const noexcept {
  const size_t page = cell / kCellsPerPage;
  double sum = load(ended_.pages[page], cell);
  for (const Thread* thread : threads_) {
    if (const double* own = thread->pages[page]) sum += load(own, cell);
  }
  return sum;
}

void CellSpace::add(uint32_t cell, double n) noexcept {
  const size_t index = cell / kCellsPerPage;
  double* page =
      ended_.pages[index];  // without memory for a page of its own: under the lock, as exact
  if (Thread* thread = ensure_thread()) {
    if (thread->pages[index] == nullptr) thread->pages[index] = map_page();
    if (thread->pages[index] != nullptr) page = thread->pages[index];
  }
  store(page, cell, load(page, cell) + n);
}

Thread* CellSpace::ensure_thread() noexcept {
  if (Thread* thread = this_thread()) return thread;
  try {
    auto thread = std::make_unique<Thread>();
    threads_.push_back(thread.get());
    thread_cells = thread.release();
    Process::fold_at_exit(static_cast<Thread*>(thread_cells));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  return static_cast<Thread*>(thread_cells);
}

void CellSpace::fold(Thread* thread) noexcept {
  for (size_t page = 0; page < kCellPages; ++page) {
    const double* own = thread->pages[page];
    if (own == nullptr) continue;
    double* ended = ended_.pages[page];
    for (uint32_t cell = 0; cell < kCellsPerPage; ++cell) {
      if (own[cell] != 0) store(ended, cell, ended[cell] + own[cell]);
    }
  }
  for (const auto& ring : thread->rings) {
    ring->producer_gone.store(true,
                              std::memory_order_release);  // pairs with Core::drop_empty_rings()
  }
  std::erase(threads_, thread);
  unmap_pages(*thread);
  delete thread;
}

void CellSpace::forget_all() noexcept {
  for (Thread* thread : threads_) {
    unmap_pages(*thread);
    delete thread;
  }
  threads_.clear();
  for (double*& page : ended_.pages) {
    // Private pages that are given up read as zero again, without touching them.
    if (page != nullptr) madvise(page, kPageBytes, MADV_DONTNEED);
  }
}

}  // namespace insight::native
