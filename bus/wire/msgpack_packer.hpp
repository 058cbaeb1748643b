// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <string>
#include <string_view>

#include <msgpack.hpp>

/// msgpack-c that appends to a string.  For the .cpp files of this folder only.
namespace insight::wire {

struct StringStream {
  std::string& out;

  void write(const char* bytes, size_t count) { out.append(bytes, count); }
};

/// The stream is a temporary: call one method on the result, in the same expression.
struct PackerTo : StringStream, msgpack::packer<StringStream> {
  explicit PackerTo(std::string& target)
      : StringStream{target}, msgpack::packer<StringStream>(static_cast<StringStream&>(*this)) {}
};

inline PackerTo packer_to(std::string& out) { return PackerTo(out); }

inline void append_str(std::string& out, std::string_view text) {
  packer_to(out).pack_str(uint32_t(text.size()));
  out.append(text);
}

inline void append_bin(std::string& out, std::string_view bytes) {
  packer_to(out).pack_bin(uint32_t(bytes.size()));
  out.append(bytes);
}

/// msgpack-c's own pack_double writes an integer for 2.0, and has no defined behaviour at 2^64.
inline void append_float64(std::string& out, double value) {
  char bytes[9] = {char(0xcb)};
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  for (int i = 0; i < 8; ++i) bytes[1 + i] = char(bits >> (56 - 8 * i));
  out.append(bytes, sizeof bytes);
}

}  // namespace insight::wire
