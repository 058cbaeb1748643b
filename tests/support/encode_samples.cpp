// SPDX-License-Identifier: Apache-2.0
// Prints envelopes of the C++ encoder as lines `name digits`, for decoders in other languages. What
// each holds is said in tests/python/wire/wire_encoder_test.py.
#include <array>
#include <cmath>
#include <cstdio>
#include <string>

#include "bus/base/text.hpp"
#include "bus/wire/encoder.hpp"
#include "bus/wire/limits.hpp"

using namespace insight;
using namespace insight::wire;

namespace {

constexpr uint64_t kWall = 1'767'225'600'000'000'000;

class Samples {
 public:
  Samples() : resource_(encode_resource(kResource)) {
    for (size_t i = 0; i < 16; ++i) head_.inc.bytes[i] = static_cast<unsigned char>(i + 1);
    head_.seq = 7;
    head_.t0_ns = kWall - kSecond;
    head_.resource = resource_;
  }

  void print(const char* name, const EnvelopeHead& head) {
    writer_.start(head);
    finish(name);
  }

  void beats() {
    print("least", head_);
    EnvelopeHead head = head_;
    const std::pair<std::string_view, uint64_t> accounts[] = {{"spans", 3},
                                                              {"drop.span_buffer", UINT64_MAX}};
    head.boot.emplace().fill(0xee);
    head.oldest_ns = kWall - 5;
    head.every_ms = 1500;
    head.accounts = accounts;
    head.seq = UINT64_MAX;
    head.life = LifeEvent::hello;
    print("hello", head);
    head = head_;
    head.life = LifeEvent::beat;
    print("beat", head);
    head.life = LifeEvent::bye;
    print("bye", head);
  }

  void metrics() {
    const uint64_t buckets[] = {1, 0, 1ull << 40};
    const std::string_view values[] = {"ü", ""};
    const std::string labels = encode_labels(values), none = encode_labels({});
    writer_.start(head_);
    writer_.family(encode_family({.name = "c_total",
                                  .label_keys = {"a", "b"},
                                  .unit = "s",
                                  .help = "Some help",
                                  .delta = true}));
    for (double value : {0., 1., 127., 128., 70000., 1e15, 1e19, 0.1, 1e300}) {
      writer_.point(labels, value);
    }
    writer_.family(encode_family({.name = "g", .kind = Kind::gauge, .merge = GaugeMode::each}));
    for (double value : {-1., -33., -1e12, -1e19, -0.5, double(NAN), double(INFINITY)}) {
      writer_.point(none, value);
    }
    writer_.family(encode_family({.name = "h", .kind = Kind::histogram, .bounds = {-1, 0.1, 5}}));
    writer_.family(encode_family({.name = "h2", .kind = Kind::histogram, .bounds = {1, 2.5}}));
    writer_.point(none, {.count = (1ull << 40) + 1, .sum = 2.5, .buckets = buckets});
    writer_.point(
        none, {.count = (1ull << 40) + 1, .sum = -2, .buckets = buckets, .min = -3, .max = 0.5});
    Exemplar exemplar{.value = 0.25, .time_ns = kWall - 4};
    exemplar.trace_id.fill(6);
    exemplar.span_id.fill(7);
    writer_.point(none, {.count = (1ull << 40) + 1, .sum = 2.5, .buckets = buckets}, &exemplar);
    finish("metrics");
  }

  void spans() {
    const Attribute attributes[] = {{"t", "ü"},     {"i", int64_t{-5}}, {"u", UINT64_MAX},
                                    {"whole", 2.0}, {"f", 0.1},         {"yes", true},
                                    {"no", false},  {"", int64_t{5}}};
    const SpanEvent events[] = {{kWall - 3, "first", attributes}, {kWall - 2, "second", {}}};
    SpanLink link;
    link.trace_id.fill(1);
    link.span_id.fill(2);
    Span span;
    span.trace_id.fill(3);
    span.span_id.fill(4);
    span.name = "rollout";
    span.lane = "trainer_0";
    span.start_ns = kWall - 10;
    writer_.start(head_);
    for (SpanWhat what : {SpanWhat::begin, SpanWhat::open}) {
      span.what = what;
      add(span);
    }
    span.end_ns = kWall;
    span.what = SpanWhat::end;
    span.status = SpanStatus::ok;
    add(span);
    span.what = SpanWhat::span;
    span.status = SpanStatus::error;
    span.has_parent = true;
    span.parent_id.fill(5);
    span.attributes = attributes;
    add(span);
    span.events = events;
    add(span);
    span.links = {&link, 1};
    add(span);
    span.events = {};
    add(span);
    finish("spans");
  }

  // As large as the estimates let it become.
  void full() {
    const std::string family = encode_family({.name = "c_total", .label_keys = {"a"}});
    const std::string value(4000, 'x');
    const std::string_view values[] = {value};
    const std::string labels = encode_labels(values);
    writer_.start(head_);
    writer_.family(family);
    while (writer_.bytes() + EnvelopeWriter::point_bytes(labels.size()) <= kMaxEnvelopeBytes) {
      writer_.point(labels, 0.1);
    }
    finish("full");
  }

 private:
  void add(const Span& span) {
    std::string encoded;
    encode_span(span, encoded);
    writer_.span(encoded);
  }

  void finish(const char* name) {
    const std::string digits = to_hex(writer_.finish({kWall, 123}));
    std::printf("%s %s\n", name, digits.c_str());
  }

  inline static const Resource kResource{{{"big", UINT64_MAX},
                                          {"f", 2.0},
                                          {"i", int64_t{-5}},
                                          {"t", std::string("ü")},
                                          {"yes", true}}};
  EnvelopeWriter writer_;
  std::string resource_;
  EnvelopeHead head_;
};

}  // namespace

int main() {
  Samples samples;
  samples.beats();
  samples.metrics();
  samples.spans();
  samples.full();
}
