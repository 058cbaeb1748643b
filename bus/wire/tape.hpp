// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "bus/base/text.hpp"

/// What msgpack-c found in some bytes, as a flat list that is used again for each message: a tree
/// of msgpack objects would allocate for every array.  For the .cpp files of this folder only.
namespace insight::wire {

/// One msgpack object.  Containers are followed by their elements; a map by key, value, key, value.
struct Token {
  enum class Type : uint8_t { nil, boolean, uint, sint, real, str, bin, array, map };

  Type type = Type::nil;
  uint32_t size = 0;  ///< bytes of str and bin, elements of array, pairs of map

  union {
    bool boolean;
    uint64_t uint = 0;
    int64_t sint;  ///< always negative
    double real;
    const char* bytes;
    size_t extent;  ///< of a container: the tokens it takes, with its own; 0 while it is open
  };

  bool is(Type other) const noexcept { return type == other; }

  bool is_container() const noexcept { return is(Type::array) || is(Type::map); }

  std::string_view text() const noexcept { return {bytes, size}; }

  /// Behind this object with all that is in it.
  const Token* next() const noexcept { return this + (is_container() ? extent : 1); }

  const Token* first() const noexcept { return this + 1; }
};

/// Reads one object that fills all of `bytes`; false when that is not so, when it is deeper than
/// kMaxDepth or has an ext type.  `tape` then holds what came before the fault.  The length that an
/// array or a map claims allocates nothing: room grows with the elements that are there.
bool read_tape(std::string_view bytes, std::vector<Token>& tape);

/// Integers and floats stand for each other wherever the value is the same.
bool to_uint(const Token& token, uint64_t& value) noexcept;
bool to_int(const Token& token, int64_t& value) noexcept;
bool to_number(const Token& token, double& value) noexcept;

/// Reads a text, number or bool into a variant of them; an integer as int64_t where it fits. False:
/// something else, or text that is not UTF-8.
template <typename Text, typename Scalar>
bool to_scalar(const Token& token, Scalar& scalar) {
  switch (token.type) {
    case Token::Type::str:
      scalar = Text(token.text());
      return is_utf8(token.text());
    case Token::Type::uint:
      if (token.uint <= uint64_t(INT64_MAX)) {
        scalar = int64_t(token.uint);
      } else {
        scalar = token.uint;
      }
      return true;
    case Token::Type::sint:
      scalar = token.sint;
      return true;
    case Token::Type::real:
      scalar = token.real;
      return true;
    case Token::Type::boolean:
      scalar = token.boolean;
      return true;
    default:
      return false;
  }
}

/// Copies a bin of exactly `size` bytes.
bool to_bytes(const Token& token, unsigned char* out, size_t size) noexcept;

/// What is wrong with the keys of a map: over `max` of them, one that is no string or longer than
/// kMaxNameBytes, one twice.  Null when nothing is.
const char* check_keys(const Token& map, size_t max) noexcept;

}  // namespace insight::wire
