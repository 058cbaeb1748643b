// SPDX-License-Identifier: Apache-2.0
// The file sink with recorded envelopes, periods and compressed files.
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "bus/base/clock.hpp"
#include "bus/base/file.hpp"
#include "bus/pipeline/sink_plugin.hpp"
#include "bus/recording/frame.hpp"
#include "bus/recording/recording_reader.hpp"
#include "bus/wire/encoder.hpp"
#include "tests/support/preset_config.hpp"
#include "tests/support/records.hpp"
#include "tests/support/temporary_directory.hpp"

namespace insight {
extern const SinkPlugin file_sink_plugin;
}

using namespace insight;
using Outcome = Delivery::Outcome;
namespace fs = std::filesystem;
using Keys = std::map<std::string, std::string>;

namespace {

constexpr uint64_t kHour = 3'600 * kSecond;

/// A sink in a directory of its own, and envelopes for it.
struct Bench {
  explicit Bench(Keys set) : keys(std::move(set)) { make_sink(keys); }

  void make_sink() { make_sink(keys); }

  void make_sink(const Keys& with) {
    sink.reset();
    const test::PresetConfig config(file_sink_plugin, with);
    sink =
        file_sink_plugin.create(config, {.log = Logger::none(), .state_directory = state.path()});
    CHECK(config.wrong_keys.empty());
  }

  std::string message(size_t padding) {
    wire::EnvelopeHead head;
    head.inc = source.incarnation().id;
    head.seq = source.seq() + 1;
    head.t0_ns = 1;
    const std::string resource = wire::encode_resource({{{"p", std::string(padding, 'x')}}});
    head.resource = resource;
    wire::EnvelopeWriter writer;
    writer.start(head);
    return std::string(writer.finish(read_clocks()));
  }

  /// Writes a batch of so many envelopes with a point each.
  Delivery write(size_t envelopes, size_t padding = 10) {
    const Series& series = source.series({.name = "n_total"});
    std::vector<std::shared_ptr<Batch>> each;
    auto batch = std::make_shared<Batch>();
    for (size_t i = 0; i < envelopes; ++i) {
      const std::string bytes = message(padding);
      const std::shared_ptr<Batch> one = source.batch(Signal::metrics, 1);
      Segment segment = one->segments[0];
      segment.begin = batch->points.size();
      segment.end = segment.begin + 1;
      segment.received_ns = ++written;
      segment.message = batch->arena.copy(bytes);
      batch->segments.push_back(segment);
      batch->points.push_back({.series = &series, .time_ns = 5});
    }
    return sink->write(*batch);
  }

  std::string directory() const { return state.path() + "/telemetry"; }

  /// Names of all files that hold something whole, in their order.
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory())) {
      const std::string name = entry.path().filename();
      if (!name.ends_with(".lock") && !name.ends_with(".tmp")) names.push_back(name);
    }
    std::ranges::sort(names);
    return names;
  }

  /// The numbers of all envelopes in all files, which must be whole.
  std::vector<uint64_t> envelopes() const {
    std::vector<uint64_t> numbers;
    for (const std::string& name : files()) {
      Result<RecordingReader> reader = RecordingReader::open(directory() + "/" + name);
      REQUIRE(reader);
      while (const auto each = reader->next()) numbers.push_back(each->received_ns);
      CHECK(reader->damage().empty());
    }
    return numbers;
  }

  bool has_exactly(uint64_t from = 1) const {
    const std::vector<uint64_t> found = envelopes();
    if (found.size() != written - from + 1) return false;
    for (size_t i = 0; i < found.size(); ++i) {
      if (found[i] != from + i) return false;
    }
    return true;
  }

  uint64_t figure(const std::string& name) const { return sink->status().figures.at(name); }

  void idle(uint64_t wall_ns) { sink->idle({.wall_ns = wall_ns, .mono_ns = 1}); }

  /// Gives the sink idle time until all whole files end like this, and no other one is there.
  void wait_for_all(const std::string& suffix) {
    const auto is_done = [&] {
      const std::vector<std::string> names = files();
      return names.size() == figure("files") &&
             std::all_of(names.begin(), names.end() - 1,
                         [&](const std::string& name) { return name.ends_with(suffix); });
    };
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!is_done()) {
      REQUIRE(std::chrono::steady_clock::now() < deadline);
      idle(wall_now_ns());
      std::this_thread::yield();
    }
  }

  test::TemporaryDirectory state;
  const Keys keys;
  test::Source source;
  std::unique_ptr<Sink> sink;
  uint64_t written = 0;
};

void set_written(const std::string& path, uint64_t wall_ns) {
  const timespec at{static_cast<time_t>(wall_ns / kSecond), 0};
  const timespec times[2]{at, at};
  REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
}

const Keys kEnvelope{{"format", "envelope"}};

}  // namespace

TEST_CASE("envelopes are written as they came, each in a frame, and only that sink asks for them") {
  Bench bench(kEnvelope);
  CHECK(bench.sink->needs_messages());
  CHECK_FALSE(Bench({}).sink->needs_messages());
  bench.sink->open();
  const std::string message = bench.message(10);

  CHECK(bench.write(1).outcome == Outcome::accepted);

  const std::string bytes = *read_file(bench.directory() + "/file.envelope");
  const FrameView frame = read_frame(bytes);
  CHECK(frame.bytes == bytes.size());
  CHECK(frame.message.size() == message.size());
  CHECK(frame.received_ns == 1);
}

TEST_CASE("envelopes fill one file after the other in order, and none is larger than it may be") {
  Bench bench({{"format", "envelope"}, {"rotate.bytes", "64KiB"}, {"rotate.keep", "100"}});
  bench.sink->open();
  for (int i = 0; i < 20; ++i) CHECK(bench.write(30, 700).outcome == Outcome::accepted);

  CHECK(bench.has_exactly());
  CHECK(bench.files().size() > 5);
  for (const std::string& name : bench.files()) {
    CHECK(fs::file_size(bench.directory() + "/" + name) <= 65'536);
  }
}

TEST_CASE("an envelope larger than a file is dropped with its records") {
  Bench bench({{"format", "envelope"}, {"rotate.bytes", "64KiB"}});
  bench.sink->open();
  const Delivery delivery = bench.write(2, 70'000);

  CHECK(delivery.outcome == Outcome::accepted);
  CHECK(delivery.dropped[static_cast<size_t>(Reason::too_large)] == 2);
  CHECK(bench.envelopes().empty());
}

TEST_CASE(
    "a frame that was not written to its end is cut off at the next start, wherever it ends") {
  Bench bench(kEnvelope);
  bench.sink->open();
  bench.write(3);
  bench.sink->close();
  const std::string path = bench.directory() + "/file.envelope";
  const std::string whole = *read_file(path);
  const size_t frame = whole.size() / 3;
  for (size_t cut = 1; cut < frame; ++cut) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << whole.substr(0, whole.size() - cut);
    bench.make_sink();
    bench.sink->open();
    CHECK(bench.envelopes() == std::vector<uint64_t>{1, 2});
    CHECK(bench.figure("torn_frames") == 1);
    bench.written = 2;
    bench.write(1);
    CHECK(bench.has_exactly());
  }
}

/// Leaves a recording that is damaged in its middle, and gives its bytes.
static std::string write_damaged(Bench& bench) {
  bench.sink->open();
  bench.write(3);
  bench.sink->close();
  const std::string path = bench.directory() + "/file.envelope";
  std::string bytes = *read_file(path);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  return bytes;
}

TEST_CASE("a file that is damaged in its middle is put aside as it is") {
  Bench bench(kEnvelope);
  const std::string bytes = write_damaged(bench);

  bench.make_sink();
  bench.sink->open();
  CHECK(bench.write(1).outcome == Outcome::accepted);

  CHECK(bench.files() == std::vector<std::string>{"file-000001.envelope", "file.envelope"});
  CHECK(*read_file(bench.directory() + "/file-000001.envelope") == bytes);
  CHECK(bench.figure("damaged_files") == 1);
}

TEST_CASE("nothing is written behind damage that cannot be put aside") {
  Bench bench(kEnvelope);
  const std::string bytes = write_damaged(bench);
  const std::string in_the_way = bench.directory() + "/file-000001.envelope";
  fs::create_directory(in_the_way);

  bench.make_sink();
  CHECK_THROWS(bench.sink->open());
  for (int i = 0; i < 2; ++i) CHECK(bench.write(1).outcome == Outcome::retry);
  CHECK(*read_file(bench.directory() + "/file.envelope") == bytes);
  CHECK(bench.figure("damaged_files") == 0);

  fs::remove(in_the_way);
  CHECK(bench.write(1).outcome == Outcome::accepted);
  CHECK(*read_file(in_the_way) == bytes);
  CHECK(bench.figure("damaged_files") == 1);
}

TEST_CASE("a file is not damaged because there is no descriptor to read it with") {
  Bench bench(kEnvelope);
  bench.sink->open();
  bench.write(3);
  bench.sink->close();
  bench.make_sink();

  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  bool is_open = false;
  int tries = 0;
  for (rlim_t most = 0; !is_open && most < 1'000; ++most) {
    const rlimit limit{.rlim_cur = most, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &limit);
    try {
      bench.sink->open();
      is_open = true;
    } catch (const std::exception&) {
      ++tries;
    }
    setrlimit(RLIMIT_NOFILE, &before);
  }

  CHECK(tries > 3);
  CHECK(bench.figure("damaged_files") == 0);
  CHECK(bench.figure("torn_frames") == 0);
  CHECK(bench.files() == std::vector<std::string>{"file.envelope"});
  CHECK(bench.has_exactly());
}

TEST_CASE("a file ends with its period, also when nothing is written any more") {
  Bench bench({{"format", "envelope"}, {"rotate.every", "1h"}, {"rotate.keep", "10"}});
  bench.sink->open();
  bench.write(1);
  const uint64_t now = wall_now_ns();

  bench.idle(now / kHour * kHour);  // the clock went back
  CHECK(bench.files().size() == 1);
  bench.idle(now / kHour * kHour + kHour);
  CHECK(bench.files() == std::vector<std::string>{"file-000001.envelope", "file.envelope"});
  bench.idle(now / kHour * kHour + 2 * kHour);  // an empty file is kept
  CHECK(bench.files().size() == 2);
  CHECK(bench.has_exactly());
}

TEST_CASE("after a restart a file of an earlier period is not continued") {
  Bench bench(Keys{{"rotate.every", "1h"}});
  bench.sink->open();
  bench.write(1);
  bench.sink->close();
  set_written(bench.directory() + "/file.jsonl", wall_now_ns() - 2 * kHour);

  bench.make_sink();
  bench.sink->open();
  bench.write(1);

  CHECK(bench.files() == std::vector<std::string>{"file-000001.jsonl", "file.jsonl"});
}

TEST_CASE("whole files are compressed, and nothing of them is lost") {
  for (const auto& [name, suffix] : {std::pair{"zstd", ".zst"}, std::pair{"gzip", ".gz"}}) {
    CAPTURE(name);
    Bench bench({{"format", "envelope"},
                 {"rotate.bytes", "64KiB"},
                 {"rotate.keep", "100"},
                 {"rotate.compress", name}});
    bench.sink->open();
    for (int i = 0; i < 8; ++i) bench.write(30, 700);
    const uint64_t files = bench.figure("files");
    REQUIRE(files >= 3);
    bench.wait_for_all(suffix);

    CHECK(bench.has_exactly());
    CHECK(bench.figure("files") == files);
    CHECK(bench.figure("compression_failures") == 0);
    uint64_t bytes = 0;
    for (const std::string& file : bench.files()) {
      bytes += fs::file_size(bench.directory() + "/" + file);
    }
    CHECK(bench.figure("bytes") == bytes);
    CHECK(bytes < 65'536);
  }
}

TEST_CASE("a kill while a file is compressed leaves one of both, and the next start goes on") {
  const Keys keys{{"format", "envelope"},
                  {"rotate.bytes", "64KiB"},
                  {"rotate.keep", "100"},
                  {"rotate.compress", "zstd"}};
  Bench plain({{"format", "envelope"}, {"rotate.bytes", "64KiB"}, {"rotate.keep", "100"}});
  plain.sink->open();
  for (int i = 0; i < 8; ++i) plain.write(30, 700);
  plain.sink->close();
  const std::string first = plain.directory() + "/file-000001.envelope";
  const std::string second = plain.directory() + "/file-000002.envelope";
  // As a kill leaves them: a half written one, and one that is done beside its plain form.
  std::ofstream(first + ".zst.tmp", std::ios::binary) << "half";
  REQUIRE(compress_file(second, second + ".zst", Compression::zstd, {}));

  plain.make_sink(keys);
  plain.sink->open();
  CHECK_FALSE(fs::exists(first + ".zst.tmp"));
  CHECK(fs::exists(first));
  CHECK_FALSE(fs::exists(second));
  CHECK(fs::exists(second + ".zst"));
  CHECK(plain.has_exactly());

  plain.wait_for_all(".zst");
  CHECK(plain.has_exactly());
}

TEST_CASE("compressed files count among those that are kept, and the oldest go") {
  Bench bench({{"format", "envelope"},
               {"rotate.bytes", "64KiB"},
               {"rotate.keep", "3"},
               {"rotate.compress", "gzip"}});
  bench.sink->open();
  for (int i = 0; i < 40; ++i) {
    bench.write(30, 700);
    CHECK(bench.figure("files") <= 3);
    CHECK(bench.figure("bytes") <= 3 * 65'536);
  }
  bench.wait_for_all(".gz");

  const std::vector<uint64_t> found = bench.envelopes();
  CHECK(bench.files().size() == 3);
  CHECK(found.back() == bench.written);
  CHECK(bench.has_exactly(found.front()));
}

TEST_CASE("a sink of recorded envelopes refuses what would change them, and all at once") {
  const Keys keys{{"format", "envelope"}, {"include", "a*"},         {"exclude", "b"},
                  {"rename", "x"},        {"prefix", "x"},           {"labels", "x"},
                  {"scale", "x"},         {"rotate.compress", "7z"}, {"rotate.every", "1ms"}};
  const test::PresetConfig config(file_sink_plugin, keys);
  (void)file_sink_plugin.create(config, {.log = Logger::none()});

  CHECK(config.wrong_keys == std::vector<std::string>{"include", "exclude", "rename", "prefix",
                                                      "labels", "scale", "rotate.compress",
                                                      "rotate.every"});
}
