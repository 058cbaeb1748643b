// SPDX-License-Identifier: Apache-2.0
#include "bus/pipeline/signal_queue.hpp"

#include <doctest/doctest.h>

#include "tests/unit/pipeline/test_backend.hpp"

using namespace insight;
using test::points;

namespace {

const uint64_t kOne = points(1)->bytes();  // bytes of a batch with one point

uint64_t full(const SignalQueue& queue) {
  return queue.dropped()[static_cast<size_t>(Reason::queue_full)];
}

}  // namespace

TEST_CASE("a full queue drops its oldest batch and counts its records") {
  SignalQueue queue;
  SignalQueue::Removed removed;
  const auto first = points(1);
  const auto second = points(1);
  const auto third = points(1);

  for (const auto& batch : {first, second, third}) {
    queue.offer(batch, 2 * kOne, WhenFull::drop_oldest, removed);
  }

  CHECK(queue.take() == second);
  CHECK(queue.received() == 3);
  CHECK(queue.records() == 2);
  CHECK(queue.bytes() == 2 * kOne);
  CHECK(full(queue) == 1);
  REQUIRE(removed.size() == 1);
  CHECK(removed[0].batch == first);
}

TEST_CASE("a full queue drops the newest batch when told so") {
  SignalQueue queue;
  SignalQueue::Removed removed;
  const auto first = points(1);

  queue.offer(first, 2 * kOne, WhenFull::drop_newest, removed);
  queue.offer(points(1), 2 * kOne, WhenFull::drop_newest, removed);
  queue.offer(points(1), 2 * kOne, WhenFull::drop_newest, removed);

  CHECK(queue.take() == first);
  CHECK(queue.records() == 2);
  CHECK(full(queue) == 1);
}

TEST_CASE("a batch larger than the whole queue is dropped and leaves the others alone") {
  for (const WhenFull when_full : {WhenFull::drop_oldest, WhenFull::drop_newest}) {
    SignalQueue queue;
    SignalQueue::Removed removed;
    const auto small = points(1);

    queue.offer(small, 2 * kOne, when_full, removed);
    queue.offer(points(1000), 2 * kOne, when_full, removed);

    CHECK(queue.take() == small);
    CHECK(queue.records() == 1);
    CHECK(full(queue) == 1000);
  }
}

TEST_CASE("no policy reaches the batch in flight") {
  SignalQueue queue;
  SignalQueue::Removed removed;
  const auto in_flight = points(1);
  const auto newest = points(1);

  queue.offer(in_flight, 2 * kOne, WhenFull::drop_oldest, removed);
  CHECK(queue.take() == in_flight);
  queue.offer(points(1), 2 * kOne, WhenFull::drop_oldest, removed);
  queue.offer(newest, 2 * kOne, WhenFull::drop_oldest, removed);
  CHECK(full(queue) == 1);
  CHECK(queue.take() == in_flight);
  queue.finish({}, 0, removed);

  CHECK(queue.delivered() == 1);
  CHECK(queue.take() == newest);
}

TEST_CASE("what the batch in flight leaves no room for is dropped by either policy") {
  SignalQueue queue;
  SignalQueue::Removed removed;
  queue.offer(points(1), kOne, WhenFull::drop_oldest, removed);
  const auto in_flight = queue.take();

  queue.offer(points(1), kOne, WhenFull::drop_oldest, removed);

  CHECK(queue.bytes() == kOne);
  CHECK(full(queue) == 1);
  CHECK(queue.take() == in_flight);
}

TEST_CASE("a batch that cannot fit beside the one in flight costs none of those that wait") {
  SignalQueue queue;
  SignalQueue::Removed removed;
  const auto waiting = points(1);
  queue.offer(points(1), 3 * kOne, WhenFull::drop_oldest, removed);
  queue.take();
  queue.offer(waiting, 3 * kOne, WhenFull::drop_oldest, removed);

  const auto large = points(1 + 2 * kOne / sizeof(Point));
  REQUIRE(large->bytes() > 2 * kOne);
  REQUIRE(large->bytes() <= 3 * kOne);
  queue.offer(large, 3 * kOne, WhenFull::drop_oldest, removed);

  CHECK(full(queue) == large->records());
  queue.finish({}, 0, removed);
  CHECK(queue.take() == waiting);
}

TEST_CASE("records lost inside an accepted batch are dropped by their reason, the rest delivered") {
  SignalQueue queue;
  SignalQueue::Removed removed;
  ReasonArray lost{};
  lost[static_cast<size_t>(Reason::conflict)] = 3;

  queue.offer(points(10), 1 << 20, WhenFull::drop_oldest, removed);
  queue.take();
  queue.finish(lost, 2, removed);

  CHECK(queue.delivered() == 5);
  CHECK(queue.filtered() == 2);
  CHECK(queue.dropped()[static_cast<size_t>(Reason::conflict)] == 3);
  CHECK(queue.is_empty());
  CHECK(queue.bytes() == 0);
}

TEST_CASE("the end of a batch that was dropped meanwhile counts nothing") {
  SignalQueue queue;
  SignalQueue::Removed removed;
  queue.offer(points(10), 1 << 20, WhenFull::drop_oldest, removed);
  queue.take();

  queue.drop_all(Reason::stopped, removed);
  queue.finish({}, 0, removed);
  queue.drop_in_flight(Reason::rejected, removed);

  CHECK(queue.delivered() == 0);
  CHECK(queue.dropped()[static_cast<size_t>(Reason::stopped)] == 10);
  CHECK(queue.dropped()[static_cast<size_t>(Reason::rejected)] == 0);
  CHECK(queue.take() == nullptr);
}

TEST_CASE("a queue knows whether all before a number are gone") {
  SignalQueue queue;
  SignalQueue::Removed removed;
  queue.offer(points(1), 1 << 20, WhenFull::drop_oldest, removed);
  queue.offer(points(1), 1 << 20, WhenFull::drop_oldest, removed);
  const uint64_t both = queue.next_number();
  queue.offer(points(1), 1 << 20, WhenFull::drop_oldest, removed);

  CHECK_FALSE(queue.is_done_before(both));
  queue.take();
  queue.finish({}, 0, removed);
  CHECK(queue.is_done_before(1));
  queue.take();
  CHECK_FALSE(queue.is_done_before(both));
  queue.finish({}, 0, removed);

  CHECK(queue.is_done_before(both));
  CHECK_FALSE(queue.is_done_before(queue.next_number()));
}
