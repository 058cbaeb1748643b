// SPDX-License-Identifier: Apache-2.0
#include "sinks/prometheus/prometheus_sink.hpp"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "bus/base/file.hpp"
#include "bus/pipeline/sink_plugin.hpp"
#include "tests/support/preset_config.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/unit/aggregate/world.hpp"

namespace insight {
extern const SinkPlugin prometheus_sink_plugin;
}

using namespace insight;
using namespace insight::test;
namespace fs = std::filesystem;
using Keys = std::map<std::string, std::string>;

namespace {

/// One process life of a broker: a sink made as the broker makes it, and its page.
struct Broker {
  explicit Broker(const std::string& state_directory, Keys set = {})
      : config(prometheus_sink_plugin, std::move(set)) {
    sink = prometheus_sink_plugin.create(
        config, {.log = Logger::none(),
                 .state_directory = state_directory,
                 .resource_labels = {},
                 .add_metrics_view = [this](MetricsView& added) { view = &added; }});
  }

  std::string scrape(Exposition exposition = Exposition::text) const {
    const Result<std::string> page = view->page(exposition);
    REQUIRE(page);
    return *page;
  }

  uint64_t figure(const std::string& name) const { return sink->status().figures.at(name); }

  test::PresetConfig config;
  MetricsView* view = nullptr;
  std::unique_ptr<Sink> sink;
};

/// Of all publishers in this program: numbers of series are never the same for two that live.
const std::shared_ptr<SeriesIds>& series_ids() {
  static const auto ids = std::make_shared<SeriesIds>();
  return ids;
}

/// A publisher with one metric.
struct Publisher {
  explicit Publisher(uint64_t number) : publisher(number, series_ids()) {}

  Batch points(double value, Family family = {.name = "n"}) {
    BatchBuilder builder;
    builder.add(publisher, std::move(family), {}, value);
    return std::move(builder.batch);
  }

  TestPublisher publisher;
};

std::string exposition(const std::string& value) {
  return "# TYPE n_total counter\nn_total " + value + "\n";
}

std::string snapshot_of(const test::TemporaryDirectory& state) {
  return state.path() + "/prometheus-prometheus.snapshot";
}

/// A directory in which nothing can be written, also by root: a file stands in its place.
std::string impossible_directory(const test::TemporaryDirectory& state) {
  const std::string path = state.path() + "/no-directory";
  std::ofstream(path) << "x";
  return path;
}

}  // namespace

TEST_CASE("what a scrape saw is there after a kill") {
  const test::TemporaryDirectory state;
  Publisher publisher(1);
  {
    Broker killed(state.path());
    killed.sink->open();
    killed.sink->write(publisher.points(5));
    CHECK(killed.scrape() == exposition("5"));
    killed.sink->write(publisher.points(9));  // seen by nobody
  }

  Broker broker(state.path());
  CHECK(broker.scrape() == "");
  broker.sink->open();

  CHECK(broker.scrape() == exposition("5"));
  Publisher again(1), other(2);
  broker.sink->write(again.points(12));
  broker.sink->write(other.points(1));
  CHECK(broker.scrape() == exposition("13"));
}

TEST_CASE("what was flushed is there after a kill, scraped or not") {
  const test::TemporaryDirectory state;
  {
    Broker killed(state.path());
    killed.sink->open();
    killed.sink->write(Publisher(1).points(7));
    killed.sink->flush();
  }

  Broker broker(state.path());
  broker.sink->open();

  CHECK(broker.scrape() == exposition("7"));
}

TEST_CASE("the file is left alone while nothing changes") {
  const test::TemporaryDirectory state;
  Broker broker(state.path());
  broker.sink->open();
  Publisher publisher(1);
  broker.sink->write(publisher.points(1));
  broker.scrape();
  CHECK(fs::file_size(snapshot_of(state)) == broker.figure("snapshot_bytes"));
  fs::remove(snapshot_of(state));

  broker.sink->write(publisher.points(1));
  broker.scrape();
  broker.sink->flush();
  CHECK_FALSE(fs::exists(snapshot_of(state)));

  broker.sink->write(publisher.points(2));
  broker.scrape();
  CHECK(fs::exists(snapshot_of(state)));
}

TEST_CASE("idle time brings the snapshot to the disk, at most every 10 s") {
  const test::TemporaryDirectory state;
  Broker broker(state.path());
  broker.sink->open();
  Publisher publisher(1);
  broker.sink->write(publisher.points(1));
  Now now = read_clocks();
  broker.sink->idle(now);
  REQUIRE(fs::exists(snapshot_of(state)));
  fs::remove(snapshot_of(state));
  broker.sink->write(publisher.points(2));

  now.mono_ns += 9 * kSecond;
  broker.sink->idle(now);
  CHECK_FALSE(fs::exists(snapshot_of(state)));
  now.mono_ns += kSecond;
  broker.sink->idle(now);

  CHECK(fs::exists(snapshot_of(state)));
}

TEST_CASE("a snapshot that cannot be read is put aside and the start goes on") {
  const test::TemporaryDirectory state;
  std::ofstream(snapshot_of(state)) << "not a snapshot";
  Broker broker(state.path());
  broker.sink->open();
  broker.sink->write(Publisher(1).points(3));

  CHECK(broker.scrape() == exposition("3"));
  CHECK(*read_file(snapshot_of(state) + ".unreadable") == "not a snapshot");
  Broker next(state.path());
  next.sink->open();
  CHECK(next.scrape() == exposition("3"));
}

TEST_CASE("a snapshot that cannot be written costs no scrape and is counted") {
  const test::TemporaryDirectory state;
  Broker broker(impossible_directory(state));
  CHECK_NOTHROW(broker.sink->open());
  broker.sink->write(Publisher(1).points(3));

  CHECK(broker.scrape() == exposition("3"));
  CHECK(broker.figure("snapshot_failures") == 1);
  CHECK_NOTHROW(broker.sink->idle(read_clocks()));
  CHECK_THROWS_AS(broker.sink->flush(), std::runtime_error);
  CHECK(broker.figure("snapshot_failures") >= 2);
  CHECK(broker.sink->status().problem.starts_with("the snapshot cannot be written"));

  const std::string directory = impossible_directory(state);
  fs::remove(directory);
  fs::create_directory(directory);
  CHECK(broker.scrape() == exposition("3"));
  CHECK(broker.sink->status().problem.empty());
}

TEST_CASE("without a state directory, or when it is not wanted, nothing is written") {
  const test::TemporaryDirectory state;
  Broker memory(""), unwanted(state.path(), {{"snapshot", "false"}});
  for (Broker* broker : {&memory, &unwanted}) {
    broker->sink->open();
    broker->sink->write(Publisher(1).points(3));
    CHECK(broker->scrape() == exposition("3"));
    CHECK_NOTHROW(broker->sink->flush());
    broker->sink->idle(read_clocks());
    CHECK(broker->figure("snapshot_bytes") == 0);
  }
  CHECK(fs::is_empty(state.path()));
}

TEST_CASE("the status names refusals and the largest metrics") {
  const test::TemporaryDirectory state;
  Broker broker(state.path());
  broker.sink->open();
  broker.sink->write(Publisher(1).points(3));

  const Delivery delivery =
      broker.sink->write(Publisher(2).points(1, {.name = "n_total", .kind = Kind::gauge}));

  CHECK(delivery.dropped[static_cast<size_t>(Reason::conflict)] == 1);
  const SinkStatus status = broker.sink->status();
  REQUIRE(status.refusals.size() == 1);
  CHECK(status.refusals[0].first == "?/?/? (01000000)");
  CHECK(status.refusals[0].second == "?/?/? (02000000)");
  CHECK(status.figures.at("series") == 1);
  CHECK(status.figures.at("series.n_total") == 1);
  CHECK(status.figures.at("incarnations") == 2);
}

TEST_CASE("a linger that is longer than the values are kept is a wrong value") {
  const test::TemporaryDirectory state;
  CHECK(Broker(state.path(), {{"keep_ended", "30s"}}).config.wrong_keys ==
        std::vector<std::string>{"keep_ended"});
  CHECK(Broker(state.path(), {{"keep_ended", "60s"}}).config.wrong_keys.empty());
}

TEST_CASE("OpenMetrics shows the same series, and starts where they are wanted") {
  const test::TemporaryDirectory state;
  Broker plain(state.path()), with_starts("", {{"created", "true"}});
  for (Broker* broker : {&plain, &with_starts}) {
    Publisher publisher(1);
    publisher.publisher.incarnation = std::make_shared<Incarnation>(
        incarnation_id(1), 1'700'000'000 * kSecond, Resource{}, 10 * kSecond, series_ids());
    broker->sink->open();
    broker->sink->write(publisher.points(3));
  }

  CHECK(plain.scrape(Exposition::open_metrics) == "# TYPE n counter\nn_total 3\n");
  CHECK(with_starts.scrape(Exposition::open_metrics) ==
        "# TYPE n counter\nn_total 3\nn_created 1700000000\n");
  CHECK(plain.figure("exemplars") == 0);
}

TEST_CASE("metrics are listed and explained, before open() as none") {
  Broker broker("");
  CHECK(broker.view->list({})->matched == 0);
  broker.sink->open();
  broker.sink->write(Publisher(1).points(3));

  CHECK(broker.view->list({})->metrics.at(0).name == "n_total");
  CHECK(broker.view->explain("n")->metric->summary.series == 1);
  CHECK_FALSE(broker.view->explain("other")->metric);
}

TEST_CASE("batches, scrapes, lists, flushes and status go on at the same time") {
  const test::TemporaryDirectory state;
  Broker broker(state.path());
  broker.sink->open();
  std::atomic<bool> is_done{false};
  std::jthread scraper([&] {
    double before = 0;
    while (!is_done.load()) {
      const std::string text = broker.scrape();
      const size_t at = text.rfind(' ');
      const double value = at == std::string::npos ? 0 : std::stod(text.substr(at));
      CHECK(value >= before);
      before = value;
      (void)broker.sink->status();
      CHECK(broker.view->list({}));
      CHECK(broker.view->explain("n"));
      CHECK(broker.view->page(Exposition::open_metrics));
    }
  });
  Publisher publisher(1);
  for (int i = 1; i <= 2'000; ++i) {
    broker.sink->write(publisher.points(i));
    if (i % 20 == 0) broker.sink->flush();
    if (i % 50 == 0) broker.sink->idle(read_clocks());
  }
  is_done.store(true);
  scraper.join();
  broker.sink->flush();

  Broker next(state.path());
  next.sink->open();
  CHECK(next.scrape() == exposition("2000"));
}
