// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/tap.hpp"

#include <atomic>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "bus/broker/taps.hpp"
#include "tests/support/records.hpp"

namespace insight {
namespace {

using nlohmann::json;
using test::Source;

class Forget final : public BatchReceiver {
 public:
  void receive(std::shared_ptr<const Batch>) noexcept override { ++batches; }

  std::atomic<int> batches{0};
};

/// The client's end of a stream.
struct Client {
  std::shared_ptr<HttpStream> stream = std::make_shared<HttpStream>();

  Client() {
    stream->attach([] {}, [] {});
  }

  /// What waits, line by line.
  std::vector<json> lines() {
    std::string text(64 << 20, '\0');
    const ssize_t n = stream->take(text.data(), text.size());
    text.resize(n > 0 ? static_cast<size_t>(n) : 0);
    std::vector<json> out;
    for (size_t from = 0; from < text.size();) {
      const size_t to = text.find('\n', from);
      out.push_back(json::parse(text.substr(from, to - from)));
      from = to + 1;
    }
    return out;
  }
};

TapQuery query(std::string_view text) { return std::move(parse_tap_query(text).value()); }

Source publisher() {
  Resource resource;
  resource.attributes = {{"host.name", "node-1"},
                         {"process.pid", int64_t{4711}},
                         {"role", "rollout"},
                         {"service.name", "engine"}};
  return Source(std::move(resource), 0xAB);
}

std::shared_ptr<Batch> points(Source& source, const Series& series, size_t count,
                              bool changed = true) {
  auto batch = source.batch(Signal::metrics, count);
  for (size_t i = 0; i < count; ++i) {
    batch->points[i].series = &series;
    batch->points[i].value = static_cast<double>(i);
    batch->points[i].changed = changed;
  }
  return batch;
}

std::shared_ptr<Batch> span(Source& source, std::string_view name, std::string_view lane,
                            std::span<const Attribute> attributes = {}) {
  auto batch = source.batch(Signal::spans, 1);
  batch->spans[0].name = name;
  batch->spans[0].lane = lane;
  batch->spans[0].attributes = attributes;
  return batch;
}

constexpr Now at(uint64_t ms) { return {1'700'000'000 * kSecond, kSecond + ms * kMillisecond}; }

/// The names of the records that a query gets to see of these batches.
std::vector<std::string> seen(std::string_view text,
                              const std::vector<std::shared_ptr<Batch>>& batches) {
  Client client;
  Tap tap(query(text), client.stream, at(0).mono_ns);
  for (const auto& batch : batches) tap.offer(batch);
  CHECK(tap.step(at(50)) == Tap::State::open);
  std::vector<std::string> names;
  for (const json& line : client.lines()) {
    if (line["type"] != "tap") names.push_back(line["name"]);
  }
  return names;
}

}  // namespace

TEST_CASE("a tap shows what was asked for, in the schema of the JSON lines") {
  using Names = std::vector<std::string>;
  Source source = publisher();
  Source other({}, 0x11);
  const Series& steps = source.series({.name = "rl_steps_total", .label_keys = {"worker"}}, {"w0"});
  const Series& tokens = source.series({.name = "tokens_total"});
  const Series& others = other.series({.name = "other_total"});
  const std::vector<Attribute> attributes{{"step", int64_t{10}}, {"ok", true}};
  const std::vector<std::shared_ptr<Batch>> all{
      points(source, steps, 1), points(source, tokens, 1), points(other, others, 1),
      points(source, tokens, 1, false), span(source, "rollout", "trainer_0", attributes)};

  CHECK(seen("", all) == Names{"rl_steps_total", "tokens_total", "other_total", "rollout"});
  CHECK(seen("all=1", all).size() == 5);
  CHECK(seen("signal=spans", all) == Names{"rollout"});
  CHECK(seen("signal=metrics", all).size() == 3);
  CHECK(seen("name=r*", all) == Names{"rl_steps_total", "rollout"});
  CHECK(seen("label=worker%3Dw?", all) == Names{"rl_steps_total"});
  CHECK(seen("label=worker=w1", all).empty());
  CHECK(seen("label=role=rollout", all).size() == 3);
  CHECK(seen("label=role=rollout&label=step=10", all) == Names{"rollout"});
  CHECK(seen("label=ok=true&label=lane=trainer*", all) == Names{"rollout"});
  for (const char* who : {"engine", "node-*", "4711", "engine/node-1/4711", "ababab"}) {
    CHECK(seen(std::string("signal=metrics&publisher=") + who, all).size() == 2);
  }
  CHECK(seen("publisher=111111", all) == Names{"other_total"});
  CHECK(seen("publisher=nobody", all).empty());

  Client client;
  Tap tap(query("name=rl*"), client.stream, at(0).mono_ns);
  tap.offer(all[0]);
  (void)tap.step(at(50));
  const json line = client.lines().at(0);
  CHECK(line["type"] == "point");
  CHECK(line["labels"]["worker"] == "w0");
  CHECK(line["resource"]["role"] == "rollout");
}

TEST_CASE("a query that is wrong is told in a sentence") {
  for (const auto& [text, why] : std::vector<std::pair<const char*, const char*>>{
           {"signal=logs", "signal must be metrics or spans"},
           {"n=ten", "n must be a whole number"},
           {"label=x", "label must be key=value"},
           {"all=yes", "all must be 0 or 1"},
           {"nome=x", "unknown parameter; known: signal, name, publisher, label, all, n"}}) {
    const auto result = parse_tap_query(text);
    REQUIRE_FALSE(result);
    CHECK(result.error().message == why);
  }
}

TEST_CASE("a glob is bounded, whatever it is for") {
  const std::string most(256, '*');
  for (const std::string key : {"name=", "publisher=", "label=key="}) {
    CHECK(parse_tap_query(key + most));
    const auto result = parse_tap_query(key + most + "*");
    REQUIRE_FALSE(result);
    CHECK(result.error().message == key.substr(0, key.find('=')) + " must have at most 256 bytes");
  }
}

TEST_CASE("a tap ends after the number of records that was asked for") {
  Source source = publisher();
  const Series& series = source.series({.name = "x_total"});
  Client client;
  Tap tap(query("n=5"), client.stream, at(0).mono_ns);
  tap.offer(points(source, series, 3));
  CHECK(tap.step(at(50)) == Tap::State::open);
  tap.offer(points(source, series, 3));
  tap.offer(points(source, series, 7));

  CHECK(tap.step(at(100)) == Tap::State::over);

  const auto lines = client.lines();
  size_t records = 0;
  for (const json& line : lines) records += line["type"] == "point" ? 1 : 0;
  CHECK(records == 5);
  CHECK(lines.back()["type"] == "tap");
  CHECK(lines.back()["records"] == 13);  // what came after the end is nothing to be left out
  CHECK(lines.back()["sent"] == 5);
  CHECK(lines.back()["left_out"] == 0);
  char more;
  CHECK(client.stream->take(&more, 1) == HttpStream::kEnd);
}

TEST_CASE("what is above the budget is left out and counted to the record") {
  Source source = publisher();
  const Series& series = source.series({.name = "x_total"});
  Client client;
  Tap tap(query(""), client.stream, at(0).mono_ns);
  uint64_t came = 0, sent = 0;
  // 200,000 records a second for three seconds.
  for (uint64_t ms = 0; ms < 3'000; ms += 50) {
    for (int i = 0; i < 10; ++i) {
      tap.offer(points(source, series, 1'000));
      came += 1'000;
    }
    REQUIRE(tap.step(at(ms + 50)) == Tap::State::open);
    for (const json& line : client.lines()) {
      if (line["type"] != "tap") {
        ++sent;
        continue;
      }
      CHECK(line["records"] == came);
      CHECK(line["sent"] == sent);
    }
  }

  const Tap::Counts counts = tap.counts();
  CHECK(counts.records == came);
  CHECK(counts.sent == sent);
  CHECK(sent + counts.left_out == came);
  CHECK(sent >= 30'000);
  CHECK(sent <= 45'000);
}

TEST_CASE("a narrow filter sees more, because looking costs less than showing") {
  Source source = publisher();
  const Series& series = source.series({.name = "x_total"});
  Client client;
  Tap tap(query("name=y*"), client.stream, at(0).mono_ns);
  for (uint64_t ms = 0; ms < 1'000; ms += 50) {
    tap.offer(points(source, series, 1'000));
    REQUIRE(tap.step(at(ms + 50)) == Tap::State::open);
  }

  CHECK(tap.counts().left_out == 0);
}

TEST_CASE("a client that does not read is cut, and holds a bounded amount until then") {
  Source source = publisher();
  const Series& series = source.series({.name = "x_total"});
  Client client;
  Tap tap(query(""), client.stream, at(0).mono_ns);
  uint64_t ms = 0;
  Tap::State state = Tap::State::open;
  while (state == Tap::State::open && ms < 60'000) {
    tap.offer(points(source, series, 1'000));
    state = tap.step(at(ms += 50));
    CHECK(client.stream->waiting() < 1 << 20);
  }

  CHECK(state == Tap::State::slow);
  CHECK(ms <= 8'000);
  CHECK_FALSE(client.stream->is_open());
  const Tap::Counts counts = tap.counts();
  CHECK(counts.records == counts.left_out + counts.sent);
}

TEST_CASE("a batch of any size fills no more than what may wait, and its rest is left out") {
  Resource resource;
  resource.attributes = {{"p", std::string(4 << 10, 'x')}};
  Source source(std::move(resource), 0xAB);
  const Series& series = source.series({.name = "x_total"});
  Client client;
  Tap tap(query(""), client.stream, at(0).mono_ns);
  tap.offer(points(source, series, 5'000));

  CHECK(tap.step(at(50)) == Tap::State::open);

  CHECK(client.stream->waiting() < 512 << 10);
  const Tap::Counts counts = tap.counts();
  CHECK(counts.records == 5'000);
  CHECK(counts.sent > 10);
  CHECK(counts.sent + counts.left_out == 5'000);
  CHECK(client.lines().size() == counts.sent + 1);
}

TEST_CASE("every record has one outcome, and none of them ever falls") {
  Source source = publisher();
  const Series& meant = source.series({.name = "x_total"});
  const Series& other = source.series({.name = "y_total"});
  Client client;
  Tap tap(query("name=x*&n=4"), client.stream, at(0).mono_ns);
  tap.offer(points(source, meant, 3));
  tap.offer(points(source, other, 2));
  CHECK(tap.step(at(50)) == Tap::State::open);
  CHECK(tap.counts().other == 2);
  tap.offer(points(source, meant, 3));
  tap.offer(points(source, other, 7));
  CHECK(tap.step(at(100)) == Tap::State::over);
  tap.offer(points(source, other, 5));  // until it is forgotten

  const Tap::Counts counts = tap.counts();
  CHECK(counts.records == 15);
  CHECK(counts.sent == 4);
  CHECK(counts.left_out == 0);
  CHECK(counts.other == 11);
}

TEST_CASE("a tap that is to stop looks at nothing more") {
  Source source = publisher();
  const Series& series = source.series({.name = "x_total"});
  Client client;
  Tap tap(query(""), client.stream, at(0).mono_ns);
  tap.offer(points(source, series, 10));
  tap.stop();

  CHECK(tap.step(at(50)) == Tap::State::open);
  tap.end(at(50).wall_ns);

  CHECK(tap.counts().sent == 0);
  CHECK(tap.counts().left_out == 10);
}

TEST_CASE("taps are opened up to a limit, and end with the broker") {
  Forget next;
  Taps taps(next);
  Source source = publisher();
  const Series& series = source.series({.name = "x_total"});
  std::vector<HttpResponse> open;
  for (size_t i = 0; i < Taps::kMaxTaps; ++i) {
    open.push_back(taps.open({.query = "n=1000000"}));
    REQUIRE(open.back().stream);
    open.back().stream->attach([] {}, [] {});
  }

  const HttpResponse refused = taps.open({});
  CHECK(refused.status == 503);
  CHECK(refused.body == "8 taps are open, which is the limit; close one\n");
  CHECK(taps.open({.query = "x=1"}).status == 400);
  CHECK(taps.stats().open == Taps::kMaxTaps);
  CHECK(taps.stats().refused == 1);
  taps.receive(points(source, series, 10));
  CHECK(next.batches == 1);

  open[0].stream->detach();  // a client that has gone makes room
  for (uint64_t end = mono_now_ns() + 60 * kSecond;
       taps.stats().open == Taps::kMaxTaps && mono_now_ns() < end;) {
    std::this_thread::yield();
  }
  CHECK(taps.stats().open == Taps::kMaxTaps - 1);

  taps.stop();
  CHECK(taps.stats().open == 0);
  CHECK(taps.stats().records == 10 * Taps::kMaxTaps);
  std::string text(1 << 20, '\0');
  CHECK(open[1].stream->take(text.data(), text.size()) > 0);
  CHECK(open[1].stream->take(text.data(), text.size()) == HttpStream::kEnd);
  CHECK(taps.open({}).status == 503);
}

TEST_CASE("taps come and go while collectors deliver") {
  Forget next;
  Taps taps(next);
  std::jthread collector([&](const std::stop_token& stop) {
    Source source = publisher();
    const Series& series = source.series({.name = "x_total"});
    while (!stop.stop_requested()) taps.receive(points(source, series, 10));
  });
  for (int i = 0; i < 20; ++i) {
    const HttpResponse response = taps.open({.query = "n=10"});
    REQUIRE(response.stream);
    response.stream->attach([] {}, [] {});
    std::string text;
    std::string buffer(64 << 10, '\0');
    for (;;) {
      const ssize_t n = response.stream->take(buffer.data(), buffer.size());
      if (n == HttpStream::kEnd) break;
      REQUIRE(n >= 0);
      text.append(buffer, 0, static_cast<size_t>(n));
      std::this_thread::yield();
    }
    CHECK(text.find("\"sent\":10}") != std::string::npos);
  }
}

}  // namespace insight
