// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "bus/wire/encoder.hpp"
#include "bus/wire/limits.hpp"
#include "tests/support/allocations.hpp"
#include "tests/unit/wire/vectors.hpp"

using namespace insight;
using namespace insight::wire;

namespace {

// In a block of exactly its size, so that a sanitizer sees the first byte read behind it.
class Exact {
 public:
  explicit Exact(std::string_view bytes)
      : size_(bytes.size()), bytes_(std::make_unique<char[]>(bytes.size())) {
    if (size_ > 0) std::memcpy(bytes_.get(), bytes.data(), size_);
  }

  std::string_view view() const { return {bytes_.get(), size_}; }

  char& operator[](size_t i) { return bytes_[i]; }

 private:
  size_t size_;
  std::unique_ptr<char[]> bytes_;
};

// Reads all that a broker reads of a message; gives how many records it had.
size_t read_all(Decoder& decoder, std::string_view message) {
  const auto result = decoder.decode(message, test::kNow);
  if (!result) return 0;
  const EnvelopeView& view = **result;
  std::vector<std::string_view> labels;
  size_t taken = 0;
  if (!decode_resource(view.resource)) return 0;
  for (const FamilyView& entry : view.families) {
    const auto family = decode_family(entry.family);
    for (size_t i = entry.begin; family && i < entry.end; ++i) {
      const PointView& point = view.points[i];
      taken += !point.refused && !check_value(*family, point) &&
               decode_labels(point.labels, family->label_keys.size(), labels);
    }
  }
  for (const SpanView& span : view.spans) taken += !span.refused;
  return taken;
}

std::vector<std::string> short_messages() {
  std::vector<std::string> messages;
  for (test::Vector& vector : test::load_vectors()) {
    if (vector.message.size() <= 1500) messages.push_back(std::move(vector.message));
  }
  return messages;
}

}  // namespace

TEST_CASE("a message cut off at any byte is refused or read, and nothing is read behind its end") {
  Decoder decoder;

  for (const std::string& message : short_messages()) {
    for (size_t size = 0; size < message.size(); ++size) {
      const Exact cut(std::string_view(message).substr(0, size));
      CHECK(read_all(decoder, cut.view()) == 0);
    }
  }
}

TEST_CASE("a message with any bit turned is refused or read") {
  Decoder decoder;
  std::mt19937 random(1);
  size_t read = 0;

  for (const std::string& message : short_messages()) {
    Exact turned(message);
    for (size_t i = 0; i < message.size(); ++i) {
      // Each bit of what is short, one bit of each byte of what is longer.
      for (unsigned bit = 0; bit < 8; ++bit) {
        if (message.size() > 200 && bit != random() % 8) continue;
        turned[i] = char(message[i] ^ (1 << bit));
        read += read_all(decoder, turned.view());
      }
      turned[i] = message[i];
    }
  }

  CHECK(read > 0);
}

TEST_CASE("messages of parts of others and of random bytes are refused or read") {
  Decoder decoder;
  std::mt19937 random(2);
  const std::vector<std::string> messages = short_messages();
  const auto any = [&](size_t below) { return size_t(random()) % below; };

  const int rounds = std::getenv("INSIGHT_FULL") != nullptr ? 2'000'000 : 20'000;

  for (int round = 0; round < rounds; ++round) {
    std::string message = messages[any(messages.size())];
    for (size_t change = 1 + any(4); change > 0; --change) {
      const std::string& other = messages[any(messages.size())];
      const size_t at = any(message.size() + 1);
      const size_t from = any(other.size() + 1);
      const size_t count = any(std::min<size_t>(other.size() - from, 64) + 1);
      if (any(2) == 0) {
        message.insert(at, other, from, count);
      } else {
        message.replace(at, count, other, from, count);
      }
    }
    read_all(decoder, Exact(message).view());
  }
  for (int round = 0; round < rounds; ++round) {
    std::string message = "\x86\xa1v\x01";
    for (size_t count = any(200); count > 0; --count) message.push_back(char(random()));
    read_all(decoder, Exact(message).view());
  }
}

#ifndef INSIGHT_NO_COUNTING

namespace {

std::string envelope_of(size_t points) {
  EnvelopeHead head;
  head.inc.bytes.fill(1);
  head.seq = 1;
  head.t0_ns = 1;
  const std::string resource = encode_resource({});
  head.resource = resource;
  EnvelopeWriter writer;
  writer.start(head);
  writer.family(encode_family({.name = "c", .label_keys = {"a", "b", "c", "d"}}));
  for (size_t i = 0; i < points; ++i) {
    const std::string text = "value " + std::to_string(i);
    const std::string_view values[] = {text, "b", "c", "d"};
    writer.point(encode_labels(values), double(i));
  }
  return std::string(writer.finish({test::kNow, 1}));
}

std::string envelope_of_spans(size_t spans) {
  EnvelopeHead head;
  head.inc.bytes.fill(1);
  head.seq = 1;
  head.t0_ns = 1;
  const std::string resource = encode_resource({});
  head.resource = resource;
  const Attribute attributes[] = {{"step", int64_t{1}}, {"name", "text"}};
  const SpanEvent event{1, "event", attributes};
  Span span;
  span.trace_id.fill(1), span.span_id.fill(2);
  span.start_ns = 1, span.end_ns = 2;
  span.attributes = attributes;
  span.events = {&event, 1};
  std::string encoded;
  encode_span(span, encoded);
  EnvelopeWriter writer;
  writer.start(head);
  for (size_t i = 0; i < spans; ++i) writer.span(encoded);
  return std::string(writer.finish({test::kNow, 1}));
}

size_t allocations_of(Decoder& decoder, const std::string& message) {
  const uint64_t before = test::allocations;
  REQUIRE(decoder.decode(message, test::kNow));
  return test::allocations - before;
}

}  // namespace

TEST_CASE("a steady stream allocates nothing for a record") {
  Decoder decoder;
  const std::string many = envelope_of(1000);
  const std::string one = envelope_of(1);
  const std::string spans = envelope_of_spans(200);
  const std::string span = envelope_of_spans(1);
  allocations_of(decoder, many);
  allocations_of(decoder, spans);

  const size_t of_one = allocations_of(decoder, one);

  CHECK(of_one <= 1);  // msgpack-c's stack
  CHECK(allocations_of(decoder, many) == of_one);
  CHECK(allocations_of(decoder, span) == of_one);
  CHECK(allocations_of(decoder, spans) == of_one);
}

TEST_CASE("a writer that is used again allocates nothing") {
  EnvelopeHead head;
  head.inc.bytes.fill(1);
  const std::string resource = encode_resource({}), family = encode_family({.name = "c"});
  const std::string labels = encode_labels({});
  const uint64_t buckets[] = {1, 2, 3};
  head.resource = resource;
  EnvelopeWriter writer;
  const auto write = [&] {
    writer.start(head);
    writer.family(family);
    for (int i = 0; i < 1000; ++i) writer.point(labels, i);
    for (int i = 0; i < 1000; ++i) writer.point(labels, HistogramValue{6, 1.5, buckets, 0, 1});
    return writer.finish({1, 1}).size();
  };
  write();

  const uint64_t before = test::allocations;
  const size_t bytes = write();

  CHECK(test::allocations == before);
  CHECK(bytes > 2000);
}

TEST_CASE("what a message claims takes no memory") {
  for (const test::Vector& vector : test::load_vectors()) {
    Decoder decoder;
    const uint64_t before = test::allocated_bytes;

    (void)decoder.decode(vector.message, vector.now);

    const size_t limit = 4096 + 256 * std::min(vector.message.size(), kMaxEnvelopeBytes);
    CHECK_MESSAGE(test::allocated_bytes - before <= limit,
                  vector.name << ": " << vector.message.size() << " bytes took "
                              << test::allocated_bytes - before);
  }
}

#endif
