// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/pipeline/sink_plugin.hpp"
#include "tests/support/preset_config.hpp"
#include "tests/support/records.hpp"
#include "tests/support/temporary_directory.hpp"

namespace insight {
extern const SinkPlugin file_sink_plugin;
}

using namespace insight;
using nlohmann::json;
using Outcome = Delivery::Outcome;
namespace fs = std::filesystem;
using Keys = std::map<std::string, std::string>;

namespace {

/// A sink on a directory of its own, and a publisher whose one counter goes up by one a point.
class Bench {
 public:
  explicit Bench(Keys set = {})
      : config(file_sink_plugin, std::move(set)), series_(source.series({.name = "n_total"})) {
    make_sink();
  }

  void make_sink() {
    sink.reset();
    sink =
        file_sink_plugin.create(config, {.log = Logger::none(), .state_directory = state.path()});
  }

  /// Points whose values go on from the last accepted one.
  std::shared_ptr<Batch> points(size_t records) {
    std::shared_ptr<Batch> batch = source.batch(Signal::metrics, records);
    for (size_t i = 0; i < records; ++i) {
      batch->points[i] = {
          .series = &series_, .time_ns = 5, .value = static_cast<double>(next_ + i)};
    }
    return batch;
  }

  Outcome write(const Batch& batch) {
    const Delivery delivery = sink->write(batch);
    if (delivery.outcome == Outcome::accepted) next_ += batch.points.size();
    return delivery.outcome;
  }

  std::string directory() const { return state.path() + "/telemetry"; }

  std::string current() const { return directory() + "/file.jsonl"; }

  uint64_t figure(const std::string& name) const { return sink->status().figures.at(name); }

  /// Paths of all files, oldest first.
  std::vector<std::string> files() const {
    std::vector<std::string> paths;
    for (const auto& entry : fs::directory_iterator(directory())) {
      const bool is_whole = entry.path().extension() == ".jsonl" && entry.path() != current();
      if (is_whole && entry.is_regular_file()) paths.push_back(entry.path());
    }
    std::ranges::sort(paths);
    if (fs::exists(current())) paths.push_back(current());
    return paths;
  }

  /// All lines, oldest first; each must be one JSON object.
  std::vector<json> lines() const {
    std::vector<json> result;
    for (const std::string& path : files()) {
      std::ifstream in(path);
      for (std::string line; std::getline(in, line);) result.push_back(json::parse(line));
    }
    return result;
  }

  /// True when the lines are the accepted points: each once, in order, from `from` on.
  bool has_exactly(uint64_t from = 0) const {
    const std::vector<json> found = lines();
    if (found.size() != next_ - from) return false;
    for (size_t i = 0; i < found.size(); ++i) {
      if (found[i]["value"].get<uint64_t>() != from + i) return false;
    }
    return true;
  }

  test::TemporaryDirectory state;
  test::PresetConfig config;
  test::Source source;
  std::unique_ptr<Sink> sink;

 private:
  const Series& series_;
  uint64_t next_ = 0;
};

/// Lets no file of this process become larger than so many bytes while it lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(uint64_t bytes) : action_before_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }

  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, action_before_);
  }

  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*action_before_)(int);
};

void close_descriptor_of(const std::string& path) {
  const fs::path file = fs::canonical(path);
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    if (fs::read_symlink(entry.path(), error) != file) continue;
    ::close(std::stoi(entry.path().filename()));
    return;
  }
  FAIL("nothing has this file open: ", path);
}

void append_to(const std::string& path, size_t bytes) {
  std::ofstream(path, std::ios::app) << std::string(bytes, 'x');
}

}  // namespace

TEST_CASE("changed points and spans become lines, refreshes do not") {
  Bench bench;
  bench.sink->open();
  const std::shared_ptr<Batch> points = bench.points(3);
  points->points[1].changed = false;
  const std::shared_ptr<Batch> spans = bench.source.batch(Signal::spans, 1);
  spans->spans[0].name = "rollout";

  CHECK(bench.write(*points) == Outcome::accepted);
  CHECK(bench.write(*spans) == Outcome::accepted);

  const std::vector<json> lines = bench.lines();
  REQUIRE(lines.size() == 3);
  CHECK(lines[0]["value"] == 0);
  CHECK(lines[1]["value"] == 2);
  CHECK(lines[2]["name"] == "rollout");
  CHECK(lines[1]["seq"] == 1);
  CHECK(lines[2]["seq"] == 2);
}

TEST_CASE("a batch is in the file when write returns") {
  Bench bench;
  bench.sink->open();

  bench.write(*bench.points(1));

  CHECK(bench.has_exactly());
}

TEST_CASE("a sink goes on behind what an earlier one wrote") {
  Bench bench;
  for (int i = 0; i < 3; ++i) {
    bench.make_sink();
    bench.sink->open();
    bench.write(*bench.points(10));
    bench.sink->close();
  }

  CHECK(bench.files().size() == 1);
  CHECK(bench.has_exactly());
}

TEST_CASE("files stay below their size and the oldest go, so that the whole is bounded") {
  Bench bench(Keys{{"rotate.bytes", "64KiB"}, {"rotate.keep", "3"}});
  bench.sink->open();

  for (int i = 0; i < 300; ++i) REQUIRE(bench.write(*bench.points(17)) == Outcome::accepted);

  const std::vector<std::string> files = bench.files();
  CHECK(files.size() == 3);
  for (const std::string& file : files) CHECK(fs::file_size(file) <= 65536);
  const uint64_t first = bench.lines().at(0)["value"];
  CHECK(first > 0);
  CHECK(bench.has_exactly(first));
  CHECK(bench.figure("files") == 3);
  CHECK(bench.figure("bytes") <= 3 * 65536);
}

TEST_CASE("one file alone is begun anew when it is full") {
  Bench bench(Keys{{"rotate.bytes", "64KiB"}, {"rotate.keep", "1"}});
  bench.sink->open();

  for (int i = 0; i < 100; ++i) bench.write(*bench.points(17));

  CHECK(bench.files() == std::vector<std::string>{bench.current()});
  CHECK(fs::file_size(bench.current()) <= 65536);
}

TEST_CASE("fewer files are kept when the configuration says so later") {
  Bench bench(Keys{{"rotate.bytes", "64KiB"}, {"rotate.keep", "5"}});
  bench.sink->open();
  for (int i = 0; i < 200; ++i) bench.write(*bench.points(17));
  bench.sink->close();
  CHECK(bench.files().size() == 5);

  const test::PresetConfig fewer(file_sink_plugin,
                                 {{"rotate.bytes", "64KiB"}, {"rotate.keep", "2"}});
  const auto sink = file_sink_plugin.create(
      fewer, {.log = Logger::none(), .state_directory = bench.state.path()});
  sink->open();

  CHECK(bench.files().size() == 2);
}

TEST_CASE("a batch larger than a file is spread over files, in order and without loss") {
  Bench bench(Keys{{"rotate.bytes", "64KiB"}, {"rotate.keep", "100"}});
  bench.sink->open();

  CHECK(bench.write(*bench.points(5'000)) == Outcome::accepted);

  CHECK(bench.files().size() > 5);
  for (const std::string& file : bench.files()) CHECK(fs::file_size(file) <= 65536);
  CHECK(bench.has_exactly());
}

TEST_CASE("a line larger than a file is dropped and counted") {
  Bench bench(Keys{{"rotate.bytes", "64KiB"}});
  bench.sink->open();
  const std::string huge(70'000, 'x');
  const std::shared_ptr<Batch> batch = bench.source.batch(Signal::spans, 3);
  for (size_t i = 0; i < 3; ++i) batch->spans[i].name = i == 1 ? std::string_view(huge) : "small";

  const Delivery delivery = bench.sink->write(*batch);

  CHECK(delivery.outcome == Outcome::accepted);
  CHECK(delivery.dropped[static_cast<size_t>(Reason::too_large)] == 1);
  CHECK(bench.lines().size() == 2);
}

TEST_CASE("a line that was not written to its end is cut off at the next start") {
  for (const size_t torn_bytes : {1, 200'000}) {
    Bench bench;
    bench.sink->open();
    bench.write(*bench.points(2));
    bench.sink->close();
    append_to(bench.current(), torn_bytes);

    bench.make_sink();
    bench.sink->open();
    bench.write(*bench.points(2));

    CHECK(bench.has_exactly());
    CHECK(bench.figure("torn_lines") == 1);
  }
}

TEST_CASE("a file without any whole line becomes empty") {
  Bench bench;
  fs::create_directories(bench.directory());
  append_to(bench.current(), 10);

  bench.sink->open();

  CHECK(fs::file_size(bench.current()) == 0);
}

TEST_CASE("a directory that was removed is created again") {
  Bench bench;
  bench.sink->open();
  bench.write(*bench.points(5));
  fs::remove_all(bench.directory());

  CHECK(bench.write(*bench.points(3)) == Outcome::accepted);

  CHECK(bench.has_exactly(5));
}

TEST_CASE("a file that somebody renamed is left alone and a new one begun") {
  Bench bench;
  bench.sink->open();
  bench.write(*bench.points(5));
  fs::rename(bench.current(), bench.directory() + "/taken.txt");

  CHECK(bench.write(*bench.points(3)) == Outcome::accepted);

  CHECK(bench.has_exactly(5));
}

TEST_CASE("an open fails where no directory can be, and succeeds when it can") {
  Bench bench;
  append_to(bench.directory(), 1);

  CHECK_THROWS_AS(bench.sink->open(), std::runtime_error);
  fs::remove(bench.directory());
  bench.sink->open();

  CHECK(bench.write(*bench.points(1)) == Outcome::accepted);
}

TEST_CASE("a name that leads elsewhere, or to no file, is refused") {
  Bench bench;
  fs::create_directories(bench.directory());
  SUBCASE("a link") { fs::create_symlink(bench.state.path() + "/elsewhere", bench.current()); }
  SUBCASE("a directory") { fs::create_directory(bench.current()); }
  SUBCASE("a pipe that nobody reads") { REQUIRE(mkfifo(bench.current().c_str(), 0600) == 0); }

  CHECK_THROWS_AS(bench.sink->open(), std::runtime_error);
}

TEST_CASE("a second sink on the same file is refused and names the first") {
  Bench bench;
  bench.sink->open();
  const SinkSettings settings{.log = Logger::none(), .state_directory = bench.state.path()};
  const auto second = file_sink_plugin.create(bench.config, settings);

  CHECK_THROWS_WITH_AS(second->open(), doctest::Contains(std::to_string(getpid()).c_str()),
                       std::runtime_error);
  bench.config.rename("archive");
  file_sink_plugin.create(bench.config, settings)->open();
  bench.sink->close();
  second->open();

  CHECK(fs::exists(bench.directory() + "/archive.jsonl"));
}

TEST_CASE("what a failed try has written is cut off, and the next try doubles nothing") {
  Bench bench;
  bench.sink->open();
  bench.write(*bench.points(100));
  const std::shared_ptr<Batch> batch = bench.points(5'000);

  {
    const FileSizeLimit limit(fs::file_size(bench.current()) + 100'001);
    CHECK(bench.write(*batch) == Outcome::retry);
  }
  CHECK(bench.has_exactly());
  CHECK(bench.write(*batch) == Outcome::accepted);

  CHECK(bench.has_exactly());
}

TEST_CASE("a period that cannot end costs nothing of what was written") {
  Bench bench(Keys{{"rotate.every", "1h"}});
  bench.sink->open();
  bench.write(*bench.points(100));
  const std::shared_ptr<Batch> late = bench.points(5'000);
  {
    const FileSizeLimit limit(fs::file_size(bench.current()) + 100'001);
    CHECK(bench.write(*late) == Outcome::retry);
  }
  const std::shared_ptr<Batch> spans = bench.source.batch(Signal::spans, 10);
  CHECK(bench.sink->write(*spans).outcome == Outcome::accepted);
  bench.sink->close();
  const std::string in_the_way = bench.directory() + "/file-000001.jsonl";
  fs::create_directory(in_the_way);
  fs::last_write_time(bench.current(), fs::file_time_type::clock::now() - std::chrono::hours(2));
  const auto size = fs::file_size(bench.current());
  bench.sink->open();

  CHECK(bench.sink->write(*spans).outcome == Outcome::retry);  // a batch that is new
  CHECK(fs::file_size(bench.current()) == size);
  bench.sink->open();
  CHECK(bench.sink->write(*late).outcome == Outcome::retry);  // and one that was tried before
  CHECK(fs::file_size(bench.current()) == size);

  fs::remove(in_the_way);
  CHECK(bench.write(*late) == Outcome::accepted);
  CHECK(bench.files().size() == 2);
  CHECK(bench.lines().size() == 5'110);
}

TEST_CASE("a batch that fails in its third file goes on there") {
  Bench bench(Keys{{"rotate.bytes", "64KiB"}, {"rotate.keep", "1000"}});
  bench.sink->open();
  bench.write(*bench.points(100));
  const std::shared_ptr<Batch> batch = bench.points(2'000);
  const std::string in_the_way = bench.directory() + "/file-000003.jsonl";
  fs::create_directory(in_the_way);

  CHECK(bench.write(*batch) == Outcome::retry);
  CHECK(bench.write(*batch) == Outcome::retry);
  fs::remove(in_the_way);
  CHECK(bench.write(*batch) == Outcome::accepted);

  CHECK(bench.files().size() > 4);
  CHECK(bench.has_exactly());
}

TEST_CASE("records that were too large in an earlier try of the batch are counted once") {
  Bench bench(Keys{{"rotate.bytes", "64KiB"}});
  bench.sink->open();
  const std::string huge(70'000, 'x');
  const std::shared_ptr<Batch> batch = bench.source.batch(Signal::spans, 1'000);
  batch->spans[0].name = huge;
  batch->spans[999].name = huge;
  const std::string in_the_way = bench.directory() + "/file-000002.jsonl";
  fs::create_directory(in_the_way);

  CHECK(bench.sink->write(*batch).outcome == Outcome::retry);
  fs::remove(in_the_way);
  const Delivery delivery = bench.sink->write(*batch);

  CHECK(delivery.outcome == Outcome::accepted);
  CHECK(delivery.dropped[static_cast<size_t>(Reason::too_large)] == 2);
}

TEST_CASE("a descriptor that somebody closed is opened again") {
  Bench bench;
  bench.sink->open();
  bench.write(*bench.points(5));
  close_descriptor_of(bench.current());

  const std::shared_ptr<Batch> batch = bench.points(3);
  const Outcome first = bench.write(*batch);
  if (first == Outcome::retry) CHECK(bench.write(*batch) == Outcome::accepted);

  CHECK(bench.has_exactly());
  CHECK_NOTHROW(bench.sink->flush());
}

TEST_CASE("random errors, restarts and closed descriptors double nothing and lose nothing") {
  std::mt19937 random(7);
  Bench bench(Keys{{"rotate.bytes", "64KiB"}, {"rotate.keep", "10000"}});
  bench.sink->open();
  int retries = 0;
  for (int i = 0; i < 500; ++i) {
    if (random() % 10 == 0) {
      bench.make_sink();
      bench.sink->open();
    }
    if (random() % 20 == 0 && fs::exists(bench.current())) close_descriptor_of(bench.current());
    const std::shared_ptr<Batch> batch = bench.points(random() % (i % 10 == 0 ? 2'000 : 100));
    Outcome outcome = Outcome::retry;
    for (int tries = 0; outcome == Outcome::retry && tries < 10; ++tries) {
      std::optional<FileSizeLimit> limit;
      if (random() % 3 == 0 && tries < 8) limit.emplace(random() % 65536);
      outcome = bench.write(*batch);
      retries += outcome == Outcome::retry ? 1 : 0;
    }
    REQUIRE(outcome == Outcome::accepted);
  }

  CHECK(retries > 50);
  CHECK(bench.has_exactly());
}

TEST_CASE("a full disk costs the oldest whole files first, then the batch must wait") {
  Bench bench(Keys{{"rotate.bytes", "128KiB"}, {"rotate.keep", "100"}});
  fs::create_directory(bench.directory());
  // In a mount namespace of its own, so that nothing is left behind.
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", bench.directory().c_str(), "tmpfs", 0, "size=1m") != 0) {
    MESSAGE("not checked: this process may not mount a small disk");
    return;
  }
  bench.sink->open();

  for (int i = 0; i < 1'000; ++i) REQUIRE(bench.write(*bench.points(20)) == Outcome::accepted);
  const uint64_t first = bench.lines().at(0)["value"];
  CHECK(first > 0);
  CHECK(bench.figure("removed_for_space") > 0);
  CHECK(bench.has_exactly(first));

  // Somebody else takes all that is left, again and again: the own whole files go, then nothing
  // helps.
  const std::string other = bench.directory() + "/other";
  Outcome outcome = Outcome::accepted;
  for (int i = 0; i < 100 && outcome == Outcome::accepted; ++i) {
    append_to(other, 1 << 20);
    outcome = bench.write(*bench.points(20));
  }
  CHECK(outcome == Outcome::retry);
  CHECK(bench.figure("files") == 1);
  for (const json& line : bench.lines()) REQUIRE(line["name"] == "n_total");

  fs::remove(other);
  const uint64_t oldest = bench.lines().empty() ? 0 : bench.lines().at(0)["value"].get<uint64_t>();
  CHECK(bench.write(*bench.points(20)) == Outcome::accepted);
  CHECK((oldest == 0 || bench.has_exactly(oldest)));
  bench.sink->close();
  REQUIRE(umount(bench.directory().c_str()) == 0);
}

TEST_CASE("without a state directory only an absolute directory will do") {
  const SinkSettings settings{.log = Logger::none(), .state_directory = ""};
  const test::TemporaryDirectory directory;
  const test::PresetConfig preset(file_sink_plugin);
  const test::PresetConfig absolute(file_sink_plugin, {{"directory", directory.path() + "/a/b"}});

  CHECK_THROWS_WITH_AS(file_sink_plugin.create(preset, settings)->open(),
                       doctest::Contains("set `directory`"), std::runtime_error);
  file_sink_plugin.create(absolute, settings)->open();

  CHECK(fs::exists(directory.path() + "/a/b/file.jsonl"));
}

TEST_CASE("a relative directory lies in the state directory, whatever the working directory is") {
  Bench bench(Keys{{"directory", "records"}});

  bench.sink->open();

  CHECK(fs::exists(bench.state.path() + "/records/file.jsonl"));
}

TEST_CASE("a sink's name becomes the name of a file, whatever it holds") {
  Bench bench;
  bench.config.rename("../a b/\"");
  bench.make_sink();

  bench.sink->open();

  CHECK(fs::exists(bench.directory() + "/_._a_b__.jsonl"));
}

TEST_CASE("values that cannot be are reported by key") {
  const auto wrong = [](Keys set) {
    const test::PresetConfig config(file_sink_plugin, std::move(set));
    (void)file_sink_plugin.create(config, {.log = Logger::none()});
    return config.wrong_keys;
  };

  CHECK(wrong({}).empty());
  CHECK(wrong({{"format", "parquet"}}) == std::vector<std::string>{"format"});
  CHECK(wrong({{"rotate.bytes", "1KiB"}, {"rotate.keep", "0"}}) ==
        std::vector<std::string>{"rotate.bytes", "rotate.keep"});
}
