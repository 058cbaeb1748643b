// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/end_check.hpp"

#include <atomic>
#include <filesystem>

#include <doctest/doctest.h>
#include <unistd.h>

#include "bus/base/clock.hpp"

namespace insight {
namespace {

using namespace std::chrono_literals;

/// A sink whose flush can be held up.
class SlowSink final : public Sink {
 public:
  explicit SlowSink(std::atomic<bool>& is_held, std::atomic<int>& flushes)
      : is_held_(is_held), flushes_(flushes) {}

  void open() override {}

  Delivery write(const Batch&) override { return {}; }

  void flush() override {
    ++flushes_;
    while (is_held_) std::this_thread::yield();
  }

  void close() noexcept override {}

 private:
  std::atomic<bool>& is_held_;
  std::atomic<int>& flushes_;
};

struct Bench {
  std::atomic<bool> is_held{false};
  std::atomic<int> flushes{0};
  SinkWorker worker{std::make_unique<SlowSink>(is_held, flushes), {.name = "slow"}, Logger::none()};
  std::string path =
      std::filesystem::temp_directory_path() / ("insight-ended-" + std::to_string(getpid()));

  Bench() { worker.start(); }

  ~Bench() {
    is_held = false;
    worker.stop(5s);
    std::filesystem::remove(path);
  }
};

PublisherView view_of(unsigned char id, Life life, uint64_t last_seen_mono_ns) {
  PublisherView view;
  view.incarnation = std::make_shared<Incarnation>(IncarnationId{{id}}, 0, Resource{}, 10 * kSecond,
                                                   std::make_shared<SeriesIds>());
  view.life = life;
  view.last_seen_mono_ns = last_seen_mono_ns;
  return view;
}

}  // namespace

TEST_CASE("a publisher is shown as ended after the sinks made everything durable") {
  Bench bench;
  EndCheck check({&bench.worker}, "", 0);
  std::vector<PublisherView> views{view_of(1, Life::ended, mono_now_ns()),
                                   view_of(2, Life::alive, mono_now_ns())};

  check.apply(views, 5s);

  CHECK(views[0].life == Life::ended);
  CHECK(views[1].life == Life::alive);
  CHECK(bench.flushes == 1);

  check.apply(views, 5s);
  CHECK(bench.flushes == 1);  // known already: nobody is asked again
}

TEST_CASE("while a sink hangs, who ended is shown as before, and nobody waits twice") {
  Bench bench;
  EndCheck check({&bench.worker}, "", 0);
  bench.is_held = true;
  const auto ended = [] {
    return std::vector<PublisherView>{
        view_of(1, Life::ended, mono_now_ns()),
        view_of(2, Life::ended, mono_now_ns() - std::min(mono_now_ns(), 16 * kSecond))};
  };

  std::vector<PublisherView> views = ended();
  check.apply(views, 50ms);
  CHECK(views[0].life == Life::alive);
  CHECK(views[1].life == Life::late);

  const uint64_t before_ns = mono_now_ns();
  for (int i = 0; i < 20; ++i) {
    views = ended();
    check.apply(views, 50ms);
    CHECK(views[0].life == Life::alive);
  }
  CHECK(mono_now_ns() - before_ns < 20 * 50 * kMillisecond);

  bench.is_held = false;
  views = ended();
  check.apply(views, 5s);
  CHECK(views[0].life == Life::ended);
  CHECK(views[1].life == Life::ended);
}

TEST_CASE("after a restart, ended is who was ended for sure; of the others the tail is unknown") {
  Bench bench;
  {
    EndCheck check({&bench.worker}, bench.path, 0);
    std::vector<PublisherView> views{view_of(1, Life::ended, mono_now_ns())};
    check.apply(views, 5s);
    REQUIRE(views[0].life == Life::ended);
  }
  const uint64_t start_ns = mono_now_ns();
  EndCheck check({&bench.worker}, bench.path, start_ns);
  std::vector<PublisherView> views{view_of(1, Life::ended, start_ns - 1),
                                   view_of(2, Life::ended, start_ns - 1),
                                   view_of(3, Life::ended, start_ns + 1)};

  check.apply(views, 5s);

  CHECK(views[0].life == Life::ended);
  CHECK(views[1].life == Life::lost);
  CHECK(views[2].life == Life::ended);
}

TEST_CASE("after a clean stop all that ended are ended for the next broker") {
  Bench bench;
  {
    EndCheck check({&bench.worker}, bench.path, 0);
    check.request_stop();
    check.finish({view_of(1, Life::ended, mono_now_ns()), view_of(2, Life::late, mono_now_ns())});
  }
  const uint64_t start_ns = mono_now_ns();
  EndCheck check({&bench.worker}, bench.path, start_ns);
  std::vector<PublisherView> views{view_of(1, Life::ended, start_ns - 1)};

  check.apply(views, 5s);

  CHECK(views[0].life == Life::ended);
}

}  // namespace insight
