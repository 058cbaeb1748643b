// SPDX-License-Identifier: Apache-2.0
#include "publishers/native/cells.hpp"

#include <set>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <pthread.h>

#include "bus/base/mutex.hpp"
#include "publishers/native/ids.hpp"
#include "publishers/native/process.hpp"

namespace insight::native {
namespace {

uint32_t take(uint32_t count) {
  MutexLock lock(Process::instance().mutex);
  return Process::instance().cells.take(count);
}

void give_back(uint32_t cell, uint32_t count) {
  MutexLock lock(Process::instance().mutex);
  Process::instance().cells.give_back(cell, count);
}

void add(uint32_t cell, double n) {
  MutexLock lock(Process::instance().mutex);
  Process::instance().cells.add(cell, n);
}

double total(uint32_t cell) {
  MutexLock lock(Process::instance().mutex);
  return Process::instance().cells.total(cell);
}

size_t threads() {
  MutexLock lock(Process::instance().mutex);
  return Process::instance().cells.threads();
}

TEST_CASE("cells of one instrument never cross a page, and cell 0 is nobody's") {
  std::vector<uint32_t> taken;
  for (int i = 0; i < 20; ++i) {
    const uint32_t first = take(1'000);
    REQUIRE(first != 0);
    CHECK(first / kCellsPerPage == (first + 999) / kCellsPerPage);
    taken.push_back(first);
  }
  CHECK(take(kCellsPerPage + 1) == 0);
  for (uint32_t first : taken) give_back(first, 1'000);
}

TEST_CASE("cells that are used again begin at 0 in every thread") {
  const uint32_t cell = take(1);
  add(cell, 5);
  std::thread([&] { add(cell, 7); }).join();
  REQUIRE(total(cell) == 12);

  give_back(cell, 1);

  CHECK(take(1) == cell);
  CHECK(total(cell) == 0);
  give_back(cell, 1);
}

TEST_CASE("what a thread recorded stays when it ends, its memory does not") {
  const uint32_t cell = take(1);
  const size_t before = threads();

  for (int i = 0; i < 1'000; ++i) std::thread([&] { add(cell, 1); }).join();

  CHECK(total(cell) == 1'000);
  CHECK(threads() == before);
  give_back(cell, 1);
}

struct Late {
  uint32_t cell = 0;

  ~Late() {
    if (cell != 0) add(cell, 10);
  }
};

thread_local Late late;

TEST_CASE("what destructors of a thread record counts") {
  const uint32_t cell = take(1);
  const size_t before = threads();
  // A key's destructor runs after those of thread_local objects, and may meet a record that is
  // gone.
  pthread_key_t key;
  static uint32_t key_cell;
  key_cell = cell;
  REQUIRE(pthread_key_create(&key, [](void*) { add(key_cell, 100); }) == 0);

  std::thread([&] {
    late.cell = cell;
    pthread_setspecific(key, &key_cell);
    add(cell, 1);
  }).join();

  CHECK(total(cell) == 111);
  CHECK(threads() == before);
  pthread_key_delete(key);
  give_back(cell, 1);
}

TEST_CASE("ids differ between threads and are never zero") {
  std::set<std::string> seen;
  for (int g = 0; g < 100; ++g) {
    Ids ids;
    for (int i = 0; i < 100; ++i) {
      const auto id = ids.span_id();
      seen.insert({reinterpret_cast<const char*>(id.data()), id.size()});
    }
  }

  CHECK(seen.size() == 10'000);
  CHECK_FALSE(seen.contains(std::string(8, '\0')));
}

}  // namespace
}  // namespace insight::native
