// SPDX-License-Identifier: Apache-2.0
#include "bus/wire/tape.hpp"

#include <array>
#include <cmath>
#include <cstring>

#include <msgpack.hpp>

#include "bus/wire/limits.hpp"

namespace insight::wire {
namespace {

using Type = Token::Type;

// Called by msgpack-c for each object; false stops it.
struct TapeWriter : msgpack::null_visitor {
  explicit TapeWriter(std::vector<Token>& target) : tape(target) {}

  std::vector<Token>& tape;
  std::array<size_t, kMaxDepth> open{};  // the containers that are not complete
  size_t depth = 0;

  Token& add(Type type, uint32_t size = 0) {
    Token& token = tape.emplace_back();
    token.type = type;
    token.size = size;
    return token;
  }

  bool visit_nil() { return add(Type::nil), true; }

  bool visit_boolean(bool value) { return add(Type::boolean).boolean = value, true; }

  bool visit_positive_integer(uint64_t value) { return add(Type::uint).uint = value, true; }

  // Also called for a positive number in a signed format.
  bool visit_negative_integer(int64_t value) {
    if (value >= 0) return visit_positive_integer(uint64_t(value));
    return add(Type::sint).sint = value, true;
  }

  bool visit_float32(float value) { return visit_float64(double(value)); }

  bool visit_float64(double value) { return add(Type::real).real = value, true; }

  bool visit_str(const char* bytes, uint32_t size) {
    return add(Type::str, size).bytes = bytes, true;
  }

  bool visit_bin(const char* bytes, uint32_t size) {
    return add(Type::bin, size).bytes = bytes, true;
  }

  bool visit_ext(const char*, uint32_t) { return false; }

  bool start(Type type, uint32_t size) {
    if (depth == kMaxDepth) return false;
    open[depth++] = tape.size();
    add(type, size).extent = 0;
    return true;
  }

  bool end() {
    const size_t begin = open[--depth];
    tape[begin].extent = tape.size() - begin;
    return true;
  }

  bool start_array(uint32_t size) { return start(Type::array, size); }

  bool end_array() { return end(); }

  bool start_map(uint32_t size) { return start(Type::map, size); }

  bool end_map() { return end(); }
};

}  // namespace

bool read_tape(std::string_view bytes, std::vector<Token>& tape) {
  tape.clear();
  TapeWriter writer(tape);
  size_t end = 0;
  return msgpack::parse(bytes.data(), bytes.size(), end, writer) && end == bytes.size();
}

bool to_uint(const Token& token, uint64_t& value) noexcept {
  if (token.is(Type::uint)) {
    value = token.uint;
    return true;
  }
  // 2^64 is the first float that does not fit; NaN fails the first comparison.
  if (!token.is(Type::real) || !(token.real >= 0) || token.real >= 18446744073709551616.0 ||
      token.real != std::floor(token.real)) {
    return false;
  }
  value = uint64_t(token.real);
  return true;
}

bool to_int(const Token& token, int64_t& value) noexcept {
  if (token.is(Type::sint)) {
    value = token.sint;
    return true;
  }
  if (token.is(Type::real) && token.real < 0) {
    if (token.real < -9223372036854775808.0 || token.real != std::ceil(token.real)) return false;
    value = int64_t(token.real);
    return true;
  }
  uint64_t positive = 0;
  if (!to_uint(token, positive) || positive > uint64_t(INT64_MAX)) return false;
  value = int64_t(positive);
  return true;
}

bool to_number(const Token& token, double& value) noexcept {
  if (token.is(Type::real)) {
    value = token.real;
  } else if (token.is(Type::uint)) {
    value = double(token.uint);
  } else if (token.is(Type::sint)) {
    value = double(token.sint);
  } else {
    return false;
  }
  return true;
}

bool to_bytes(const Token& token, unsigned char* out, size_t size) noexcept {
  if (!token.is(Type::bin) || token.size != size) return false;
  std::memcpy(out, token.bytes, size);
  return true;
}

const char* check_keys(const Token& map, size_t max) noexcept {
  if (map.size > max) return "a map has too many keys";
  const Token* key = map.first();
  for (uint32_t i = 0; i < map.size; ++i) {
    if (!key->is(Type::str)) return "a key of a map is no string";
    if (key->size > kMaxNameBytes) return "a key of a map is too long";
    const Token* before = map.first();
    for (uint32_t j = 0; j < i; ++j) {
      if (before->text() == key->text()) return "a map has a key twice";
      before = before->next()->next();
    }
    key = key->next()->next();
  }
  return nullptr;
}

}  // namespace insight::wire
