// SPDX-License-Identifier: Apache-2.0
#include "bus/model/line_format.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace insight;
using nlohmann::json;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::shared_ptr<Incarnation> make_incarnation(Resource resource = {}) {
  IncarnationId id;
  id.bytes.fill(0xab);
  return std::make_shared<Incarnation>(id, 1, std::move(resource), 10'000'000'000,
                                       std::make_shared<SeriesIds>());
}

/// One series, and the line of a point of it.
struct Source {
  explicit Source(Family family, std::vector<std::string_view> labels = {}, Resource resource = {})
      : incarnation(make_incarnation(std::move(resource))),
        series(incarnation->add_series(std::make_shared<const Family>(std::move(family)), labels)) {
  }

  std::string text(Point point) const {
    point.series = &series;
    LineFormat format;
    format.begin({.incarnation = incarnation, .seq = 7});
    std::string out;
    format.append(point, out);
    return out;
  }

  json line(Point point) const {
    const std::string out = text(point);
    REQUIRE(out.find('\n') == out.size() - 1);
    return json::parse(out);
  }

  std::shared_ptr<Incarnation> incarnation;
  const Series& series;
};

json line_of(const Span& span) {
  LineFormat format;
  format.begin({.incarnation = make_incarnation(), .seq = 9});
  std::string out;
  format.append(span, out);
  REQUIRE(out.find('\n') == out.size() - 1);
  return json::parse(out);
}

}  // namespace

TEST_CASE("the line of a counter has the settled keys") {
  const Source source(
      {.name = "steps_total", .kind = Kind::counter, .label_keys = {"a", "b"}, .unit = "1"},
      {"x", "y"}, {{{"rank", int64_t{3}}, {"service.name", std::string("demo")}}});

  CHECK(
      source.text({.time_ns = 1'700'000'000'123'456'789, .value = 42}) ==
      R"({"type":"point","ts_ns":1700000000123456789,"name":"steps_total","kind":"counter",)"
      R"("labels":{"a":"x","b":"y"},"value":42,"unit":"1","resource":{"rank":3,"service.name":"demo"},)"
      R"("inc":"abababababababababababababababab","seq":7})"
      "\n");
}

TEST_CASE("a value reads back as the same number, and whole ones look whole") {
  const Source source({.name = "x", .kind = Kind::gauge});

  CHECK(source.text({.value = 100'000}).find(R"("value":100000,)") != std::string::npos);
  CHECK(source.text({.value = -3}).find(R"("value":-3,)") != std::string::npos);
  for (const double value : {0.0, 0.1, 1e-300, 5e-324, 1.7976931348623157e308, 9007199254740993.0,
                             -1e21, 0.30000000000000004, 9007199254740991.0, -9007199254740992.0}) {
    CHECK(source.line({.value = value})["value"].get<double>() == value);
  }
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const double value = std::bit_cast<double>(random());
    if (!std::isfinite(value)) continue;
    REQUIRE(source.line({.value = value})["value"].get<double>() == value);
  }
}

TEST_CASE("what is no number in JSON is a string") {
  const Source source({.name = "x", .kind = Kind::gauge});

  CHECK(source.line({.value = kNan})["value"] == "NaN");
  CHECK(source.line({.value = kInfinity})["value"] == "+Inf");
  CHECK(source.line({.value = -kInfinity})["value"] == "-Inf");
}

TEST_CASE("any text comes back as it was") {
  std::mt19937 random(2);
  const std::array<std::string, 8> pieces{"\"",   "\\", std::string(1, '\0'), "\n",
                                          "\x1f", "é",  "\xf0\x9f\x98\x80",   "a"};
  for (int i = 0; i < 2'000; ++i) {
    std::string text;
    for (size_t n = random() % 20; n > 0; --n) {
      text += random() % 3 == 0 ? std::string(1, static_cast<char>(random() % 128))
                                : pieces[random() % pieces.size()];
    }
    const Source source(
        {.name = "n" + text, .kind = Kind::gauge, .label_keys = {"k" + text}, .unit = text}, {text},
        {{{text, text}}});
    const json line = source.line({});
    REQUIRE(line["name"] == "n" + text);
    REQUIRE(line["labels"]["k" + text] == text);
    REQUIRE(line["unit"] == text);
    REQUIRE(line["resource"][text] == text);
  }
}

TEST_CASE("a histogram is an object with its bounds") {
  const Source source({.name = "h", .kind = Kind::histogram, .delta = true, .bounds = {0.5, 1}});
  const std::array<uint64_t, 3> buckets{1, 0, 2};
  HistogramValue value{.count = 3, .sum = 4.5, .buckets = buckets};

  CHECK(source.line({.histogram = &value})["value"] ==
        json::parse(R"({"count":3,"sum":4.5,"bounds":[0.5,1],"buckets":[1,0,2]})"));
  CHECK(source.line({.histogram = &value})["delta"] == true);
  value.min = 0.25;
  value.max = kInfinity;
  CHECK(source.line({.histogram = &value})["value"]["min"] == 0.25);
  CHECK(source.line({.histogram = &value})["value"]["max"] == "+Inf");
}

TEST_CASE("an exponential histogram is an object with both sides") {
  const Source source({.name = "e", .kind = Kind::exphist});
  const std::array<uint64_t, 2> positive{5, std::numeric_limits<uint64_t>::max()};
  const ExpHistogramValue value{.count = 6,
                                .sum = -1,
                                .zero_count = 1,
                                .scale = -2,
                                .positive_offset = -7,
                                .positive = positive,
                                .min = -1,
                                .max = 8};

  CHECK(source.line({.exponential = &value})["value"] ==
        json::parse(
            R"({"count":6,"sum":-1,"min":-1,"max":8,"zero_count":1,"scale":-2,"positive_offset":-7,
                        "positive":[5,18446744073709551615],"negative_offset":0,"negative":[]})"));
}

TEST_CASE("an exemplar names its trace") {
  const Source source({.name = "c", .kind = Kind::counter});
  Exemplar exemplar{.value = 0.5, .time_ns = 12};
  exemplar.trace_id[15] = 0x0f;
  exemplar.span_id[0] = 0xa0;

  CHECK(source.line({.exemplar = &exemplar})["exemplar"] ==
        json::parse(R"({"value":0.5,"ts_ns":12,"trace_id":"0000000000000000000000000000000f",
                        "span_id":"a000000000000000"})"));
}

TEST_CASE("attributes keep their type") {
  const std::array<Attribute, 6> attributes{{{"text", std::string_view("2")},
                                             {"int", int64_t{-2}},
                                             {"uint", std::numeric_limits<uint64_t>::max()},
                                             {"double", 2.0},
                                             {"nan", kNan},
                                             {"bool", true}}};

  const json line = line_of({.attributes = attributes})["attributes"];

  CHECK(line["text"].is_string());
  CHECK(line["int"].is_number_integer());
  CHECK(line["uint"].is_number_unsigned());
  CHECK(line["uint"].get<uint64_t>() == std::numeric_limits<uint64_t>::max());
  CHECK(line["double"].is_number_float());
  CHECK(line["nan"] == "NaN");
  CHECK(line["bool"].is_boolean());
}

TEST_CASE("a span has ids, lane, times, status, events and links") {
  const std::array<Attribute, 1> attributes{{{"step", uint64_t{10}}}};
  const std::array<SpanEvent, 2> events{{{5, "first \"token\"", attributes}, {6, "done", {}}}};
  std::array<SpanLink, 1> links{};
  links[0].span_id[7] = 1;
  Span span{.what = SpanWhat::span,
            .status = SpanStatus::error,
            .name = "rollout",
            .lane = "trainer_0",
            .start_ns = 4,
            .end_ns = 9,
            .attributes = attributes,
            .events = events,
            .links = links};
  span.trace_id.fill(0x01);
  span.span_id.fill(0x02);

  CHECK(line_of(span) ==
        json::parse(R"({"type":"span","ts_ns":4,"name":"rollout","lane":"trainer_0",
      "trace_id":"01010101010101010101010101010101","span_id":"0202020202020202","parent_id":null,
      "start_ns":4,"end_ns":9,"status":"error","attributes":{"step":10},
      "events":[{"ts_ns":5,"name":"first \"token\"","attributes":{"step":10}},
                {"ts_ns":6,"name":"done","attributes":{}}],
      "links":[{"trace_id":"00000000000000000000000000000000","span_id":"0000000000000001","attributes":{}}],
      "resource":{},"inc":"abababababababababababababababab","seq":9})"));
}

TEST_CASE("a state that goes on has no end, and the time of its end is that of the record") {
  Span span{.what = SpanWhat::begin, .has_parent = true, .start_ns = 4};
  span.parent_id.fill(0x03);

  const json begin = line_of(span);
  span.what = SpanWhat::end;
  span.end_ns = 9;
  const json end = line_of(span);

  CHECK(begin["type"] == "begin");
  CHECK(begin["ts_ns"] == 4);
  CHECK(begin["end_ns"].is_null());
  CHECK(begin["parent_id"] == "0303030303030303");
  CHECK_FALSE(begin.contains("events"));
  CHECK(end["type"] == "end");
  CHECK(end["ts_ns"] == 9);
  CHECK(end["start_ns"] == 4);
}
