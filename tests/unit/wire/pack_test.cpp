// SPDX-License-Identifier: Apache-2.0
#include "bus/wire/pack.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include <doctest/doctest.h>

using insight::wire::Packer;
using insight::wire::Unpacker;

namespace {

constexpr uint64_t kUnsigned[] = {0,
                                  1,
                                  127,
                                  128,
                                  255,
                                  256,
                                  65535,
                                  65536,
                                  4294967295,
                                  4294967296,
                                  (1ull << 63) - 1,
                                  1ull << 63,
                                  UINT64_MAX};
constexpr int64_t kSigned[] = {
    -1, -32, -33, -128, -129, -32768, -32769, INT32_MIN, INT32_MIN - 1ll, INT64_MIN, INT64_MAX};

}  // namespace

TEST_CASE("what was packed is read again as it was") {
  std::string out;
  Packer pack(out);
  for (uint64_t value : kUnsigned) pack.uint(value);
  for (int64_t value : kSigned) pack.integer(value);
  for (double value : {0.0, -0.0, 2.0, 0.1, -1e300, std::numeric_limits<double>::infinity()}) {
    pack.real(value);
  }
  pack.real(std::nan(""));
  pack.boolean(true), pack.boolean(false), pack.nil();
  for (size_t size : {0, 31, 32, 255, 256, 65535, 65536}) {
    pack.str(std::string(size, 'x'));
    pack.bin(std::string(size, '\xff'));
  }

  Unpacker unpack(out);

  uint64_t unsigned_value = 0;
  for (uint64_t value : kUnsigned) {
    REQUIRE(unpack.uint(unsigned_value));
    CHECK(unsigned_value == value);
  }
  int64_t signed_value = 0;
  for (int64_t value : kSigned) {
    REQUIRE(unpack.integer(signed_value));
    CHECK(signed_value == value);
  }
  double real = 0;
  for (double value : {0.0, -0.0, 2.0, 0.1, -1e300, std::numeric_limits<double>::infinity()}) {
    REQUIRE(unpack.real(real));
    CHECK(std::bit_cast<uint64_t>(real) == std::bit_cast<uint64_t>(value));
  }
  REQUIRE(unpack.real(real));
  CHECK(std::isnan(real));
  bool flag = false;
  REQUIRE(unpack.boolean(flag));
  CHECK(flag);
  REQUIRE(unpack.boolean(flag));
  CHECK_FALSE(flag);
  CHECK(unpack.nil());
  std::string_view bytes;
  for (size_t size : {0, 31, 32, 255, 256, 65535, 65536}) {
    REQUIRE(unpack.str(bytes));
    CHECK(bytes == std::string(size, 'x'));
    REQUIRE(unpack.bin(bytes));
    CHECK(bytes == std::string(size, '\xff'));
  }
  CHECK(unpack.at_end());
}

TEST_CASE("headers of maps and arrays are read again as they were") {
  for (uint32_t count : {0u, 15u, 16u, 65535u, 65536u}) {
    std::string out;
    Packer(out).array(count);
    out.append(count, '\xc0');
    Packer(out).map(count);
    out.append(2 * count, '\xc0');
    Unpacker unpack(out);

    uint32_t read = 1;
    REQUIRE(unpack.array(read));
    CHECK(read == count);
    for (uint32_t i = 0; i < count; ++i) REQUIRE(unpack.nil());
    REQUIRE(unpack.map(read));
    CHECK(read == count);
  }
}

TEST_CASE("an array or a map that claims more than the bytes left can hold is not read") {
  uint32_t count = 0;

  CHECK_FALSE(Unpacker(std::string_view("\xdd\xff\xff\xff\xff\xc0", 6)).array(count));
  CHECK_FALSE(Unpacker(std::string_view("\x93\xc0\xc0", 3)).array(count));
  CHECK(Unpacker(std::string_view("\x92\xc0\xc0", 3)).array(count));
  CHECK_FALSE(Unpacker(std::string_view("\x82\xc0\xc0\xc0", 4)).map(count));
  CHECK(Unpacker(std::string_view("\x81\xc0\xc0", 3)).map(count));
}

TEST_CASE("a read of another type consumes nothing") {
  std::string out;
  Packer(out).str("text");
  Unpacker unpack(out);
  uint64_t number = 0;
  int64_t integer = 0;
  double real = 0;
  bool flag = false;
  uint32_t count = 0;
  std::string_view text;

  CHECK_FALSE(unpack.uint(number));
  CHECK_FALSE(unpack.integer(integer));
  CHECK_FALSE(unpack.real(real));
  CHECK_FALSE(unpack.boolean(flag));
  CHECK_FALSE(unpack.nil());
  CHECK_FALSE(unpack.array(count));
  CHECK_FALSE(unpack.map(count));
  CHECK_FALSE(unpack.bin(text));
  CHECK(unpack.str(text));
  CHECK(text == "text");
}

TEST_CASE("integers are read by either sign as far as they fit, and as reals") {
  std::string out;
  Packer(out).integer(-1);
  Packer(out).uint(UINT64_MAX);
  out += std::string("\xd3\x00\x00\x00\x00\x00\x00\x00\x07", 9);  // a positive one in a signed form
  Unpacker unpack(out);
  uint64_t number = 0;
  int64_t integer = 0;
  double real = 0;

  CHECK_FALSE(unpack.uint(number));
  REQUIRE(unpack.real(real));
  CHECK(real == -1);
  CHECK_FALSE(unpack.integer(integer));
  REQUIRE(unpack.uint(number));
  CHECK(number == UINT64_MAX);
  REQUIRE(unpack.uint(number));
  CHECK(number == 7);
  CHECK(unpack.at_end());
}

TEST_CASE("skip passes over any one object and stops at what is cut off") {
  std::string out;
  Packer pack(out);
  pack.map(2);
  pack.str("a"), pack.array(3), pack.nil(), pack.real(1.5), pack.map(0);
  pack.bin("b"), pack.integer(-5);
  out += std::string("\x96\xd4\x01\x02\xd8\x01", 6) + std::string(16, 'x');  // ext 1 and 16 bytes
  out += std::string("\xc7\x02\x01xy\xc8\x00\x01\x01z", 10);                 // ext 8 and 16
  out += std::string("\xca\x3f\x80\x00\x00\xc2", 6);                         // float32 and false
  const size_t first = 1 + 2 + 1 + 1 + 9 + 1 + 3 + 1;

  Unpacker unpack(out);
  REQUIRE(unpack.skip());
  CHECK(unpack.rest().size() == out.size() - first);
  REQUIRE(unpack.skip());
  CHECK(unpack.at_end());
  CHECK_FALSE(unpack.skip());

  for (size_t size = 0; size < out.size() - first; ++size) {
    Unpacker cut(std::string_view(out).substr(first, size));
    REQUIRE_FALSE(cut.skip());
    REQUIRE(cut.rest().size() == size);
  }
}

TEST_CASE("reads of random bytes stay inside of them") {
  std::mt19937 random(3);

  for (int round = 0; round < 20'000; ++round) {
    const size_t size = random() % 40;
    const auto bytes = std::make_unique<char[]>(size);  // a sanitizer sees a read behind its end
    for (size_t i = 0; i < size; ++i) bytes[i] = char(random());
    Unpacker unpack({bytes.get(), size});
    uint32_t count = 0;
    uint64_t number = 0;
    int64_t integer = 0;
    double real = 0;
    bool flag = false;
    std::string_view text;

    size_t before = size + 1;
    while (unpack.rest().size() < before) {
      before = unpack.rest().size();
      if (unpack.array(count) || unpack.map(count)) {
        REQUIRE(count <= before);
      } else if (unpack.str(text) || unpack.bin(text)) {
        REQUIRE(text.size() <= before);
      } else if (!unpack.uint(number) && !unpack.integer(integer) && !unpack.real(real) &&
                 !unpack.boolean(flag) && !unpack.nil()) {
        unpack.skip();
      }
    }
  }
}
