// SPDX-License-Identifier: Apache-2.0
#include "bus/recording/rewrite.hpp"

#include <string>

#include <doctest/doctest.h>

#include "bus/wire/decoder.hpp"
#include "bus/wire/encoder.hpp"
#include "bus/wire/pack.hpp"

namespace insight {
namespace {

const std::string kTrace(16, '\1');
const std::string kSpan(8, '\2');

IncarnationId id(unsigned char byte) {
  IncarnationId result;
  result.bytes.fill(byte);
  return result;
}

Rewrite moved_by(int64_t shift_ns) {
  return {.incarnation = id(9),
          .seq = 77,
          .shift_ns = shift_ns,
          .sent = {.wall_ns = 5'000, .mono_ns = 6'000}};
}

/// The head of an envelope in a foreign order and with keys that nobody knows.
std::string head(uint32_t more) {
  std::string out;
  wire::Packer pack(out);
  pack.map(12 + more);
  pack.str("v"), pack.uint(1);
  pack.str("later"), pack.array(2), pack.nil(), pack.str("kept");
  pack.str("sent"), pack.real(1'500);  // 2 equals 2.0
  pack.str("inc"), pack.bin(id(1).view());
  pack.str("seq"), pack.uint(3);
  pack.str("t0"), pack.uint(1'000);
  pack.str("res"), pack.bin(wire::encode_resource({{{"run", std::string("a")}}}));
  pack.str("mono"), pack.uint(1'234);
  pack.str("boot"), pack.bin(std::string(16, '\5'));
  pack.str("clk"), pack.array(2), pack.integer(-5), pack.uint(1);
  pack.str("old"), pack.uint(1'400);
  pack.str("every"), pack.uint(2'000);
  return out;
}

std::string metrics() {
  std::string out = head(1);
  wire::Packer pack(out);
  Family gauge{.name = "g", .kind = Kind::gauge};
  Family progress{
      .name = std::string(kProgressMetric), .kind = Kind::gauge, .label_keys = {"name"}};
  const std::string_view loop = "loop";
  pack.str("met"), pack.array(2);
  pack.array(3), pack.bin(wire::encode_family(gauge)), pack.array(3);
  pack.array(2), pack.bin(wire::encode_labels({})), pack.integer(-7);
  pack.array(3), pack.bin(wire::encode_labels({})), pack.real(2.5), pack.real(1'100);
  pack.array(5), pack.bin(wire::encode_labels({})), pack.real(2.5), pack.nil();
  pack.array(4), pack.real(0.5), pack.uint(1'200), pack.bin(kTrace), pack.bin(kSpan);
  pack.str("more");
  pack.str("more");
  pack.array(2), pack.bin(wire::encode_family(progress)), pack.array(1);
  pack.array(2), pack.bin(wire::encode_labels({&loop, 1})), pack.real(100.5);
  return out;
}

std::string spans() {
  std::string out = head(1);
  wire::Packer pack(out);
  pack.str("spn"), pack.array(2);
  pack.array(12), pack.str("span"), pack.bin(kTrace), pack.bin(kSpan), pack.nil();
  pack.str("n"), pack.str("l"), pack.uint(1'100), pack.uint(1'300), pack.uint(1);
  pack.map(1), pack.str("step"), pack.uint(10);
  pack.array(1), pack.array(3), pack.uint(1'200), pack.str("e"), pack.map(0);
  pack.array(0);
  pack.array(10), pack.str("begin"), pack.bin(kTrace), pack.bin(kSpan), pack.bin(kSpan);
  pack.str("n"), pack.str("l"), pack.uint(1'150), pack.nil(), pack.uint(0), pack.map(0);
  return out;
}

}  // namespace

TEST_CASE("an envelope becomes another publisher's, with all times moved alike") {
  std::string out;
  REQUIRE(rewrite_envelope(metrics(), moved_by(1'000'000'000'000), out));
  wire::Decoder decoder;
  const auto decoded = decoder.decode(out, 2'000'000'000'000);
  REQUIRE(decoded);
  const wire::EnvelopeView& view = **decoded;

  CHECK(view.inc == id(9));
  CHECK(view.seq == 77);
  CHECK(view.t0_ns == 1'000'000'001'000);
  CHECK(view.sent_ns == 5'000);
  CHECK(view.mono_ns == 6'000);
  CHECK(view.boot == std::array<unsigned char, 16>{});
  CHECK_FALSE(view.clock);
  CHECK(view.oldest_ns == 1'000'000'001'400);
  CHECK(view.every_ms == 2'000);
  CHECK(out.find("kept") != std::string::npos);
  REQUIRE(view.points.size() == 4);
  CHECK(view.points[0].value == -7);
  CHECK(view.points[0].time_ns == 0);
  CHECK(view.points[1].value == 2.5);
  CHECK(view.points[1].time_ns == 1'000'000'001'100);
  CHECK(view.points[2].exemplar->time_ns == 1'000'000'001'200);
  CHECK(view.points[2].exemplar->value == 0.5);
  CHECK(view.points[3].value == 1'100.5);
}

TEST_CASE("spans keep their length, their attributes and what has not ended") {
  std::string out;
  REQUIRE(rewrite_envelope(spans(), moved_by(-900), out));
  wire::Decoder decoder;
  const auto decoded = decoder.decode(out, 10'000);
  REQUIRE(decoded);
  const wire::EnvelopeView& view = **decoded;

  CHECK(view.t0_ns == 100);
  REQUIRE(view.spans.size() == 2);
  const Span& span = view.spans[0].span;
  CHECK(span.start_ns == 200);
  CHECK(span.end_ns == 400);
  CHECK(span.attributes.size() == 1);
  REQUIRE(span.events.size() == 1);
  CHECK(span.events[0].time_ns == 300);
  CHECK(view.spans[1].span.start_ns == 250);
  CHECK(view.spans[1].span.end_ns == 0);
}

TEST_CASE("no time is moved below the start of all times") {
  std::string out;
  REQUIRE(rewrite_envelope(spans(), moved_by(-5'000), out));
  wire::Decoder decoder;
  const auto decoded = decoder.decode(out, 10'000);
  REQUIRE(decoded);
  CHECK((*decoded)->t0_ns == 1);
  CHECK((*decoded)->spans[0].span.start_ns == 1);
}

TEST_CASE("beats can be made to come at another interval") {
  Rewrite with = moved_by(0);
  with.every_ms = 100;
  std::string out;
  REQUIRE(rewrite_envelope(metrics(), with, out));
  wire::Decoder decoder;
  const auto decoded = decoder.decode(out, 10'000'000);
  REQUIRE(decoded);
  CHECK((*decoded)->every_ms == 100);
}

TEST_CASE("what is cut off is not written anew") {
  const std::string whole = metrics();
  std::string out;
  for (size_t size = 0; size < whole.size(); ++size) {
    CHECK_FALSE(rewrite_envelope(std::string_view(whole).substr(0, size), moved_by(1), out));
  }
}

}  // namespace insight
