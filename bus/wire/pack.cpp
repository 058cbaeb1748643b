// SPDX-License-Identifier: Apache-2.0
#include "bus/wire/pack.hpp"

#include <bit>
#include <limits>

#include "bus/wire/msgpack_packer.hpp"

namespace insight::wire {

void Packer::map(uint32_t pairs) { packer_to(out_).pack_map(pairs); }

void Packer::array(uint32_t elements) { packer_to(out_).pack_array(elements); }

void Packer::nil() { packer_to(out_).pack_nil(); }

void Packer::boolean(bool value) {
  value ? packer_to(out_).pack_true() : packer_to(out_).pack_false();
}

void Packer::uint(uint64_t value) { packer_to(out_).pack_uint64(value); }

void Packer::integer(int64_t value) { packer_to(out_).pack_int64(value); }

void Packer::real(double value) { append_float64(out_, value); }

void Packer::str(std::string_view text) { append_str(out_, text); }

void Packer::bin(std::string_view bytes) { append_bin(out_, bytes); }

namespace {

// The first byte of each format, as in the msgpack specification.
constexpr uint8_t kFixMap = 0x80, kFixArray = 0x90, kFixStr = 0xa0, kNil = 0xc0, kFalse = 0xc2,
                  kTrue = 0xc3, kBin8 = 0xc4, kExt8 = 0xc7, kFloat32 = 0xca, kFloat64 = 0xcb,
                  kUint8 = 0xcc, kInt8 = 0xd0, kFixExt1 = 0xd4, kStr8 = 0xd9, kArray16 = 0xdc,
                  kMap16 = 0xde, kNegativeFix = 0xe0;

uint8_t first(std::string_view bytes) { return bytes.empty() ? 0xc1 : uint8_t(bytes[0]); }

// The big-endian number of `width` bytes behind the first byte.
bool number_at_1(std::string_view bytes, size_t width, uint64_t& number) {
  if (bytes.size() < 1 + width) return false;
  number = 0;
  for (size_t i = 1; i <= width; ++i) number = number << 8 | uint8_t(bytes[i]);
  return true;
}

// Reads a length: in the first byte under `mask`, or 1, 2 or 4 bytes wide behind `wide_tag`,
// `wide_tag` + 1 and so on, of which the first is `width` wide.
struct Header {
  size_t bytes = 0;
  uint64_t length = 0;
};

bool wide_header(std::string_view bytes, uint8_t wide_tag, size_t width, Header& header) {
  for (uint8_t tag = wide_tag; width <= 4; ++tag, width *= 2) {
    if (first(bytes) != tag) continue;
    header.bytes = 1 + width;
    return number_at_1(bytes, width, header.length);
  }
  return false;
}

bool fix_header(std::string_view bytes, uint8_t fix_tag, uint8_t mask, Header& header) {
  if (bytes.empty() || (first(bytes) & ~mask) != fix_tag) return false;
  header = {1, uint64_t(first(bytes) & mask)};
  return true;
}

bool container(std::string_view& rest, uint8_t fix_tag, uint8_t wide_tag, size_t bytes_each,
               uint32_t& elements) {
  Header header;
  if (!fix_header(rest, fix_tag, 0x0f, header) && !wide_header(rest, wide_tag, 2, header)) {
    return false;
  }
  if (header.length > (rest.size() - header.bytes) / bytes_each) return false;
  elements = uint32_t(header.length);
  rest.remove_prefix(header.bytes);
  return true;
}

bool body(std::string_view& rest, const Header& header, std::string_view& out) {
  if (header.bytes > rest.size() || header.length > rest.size() - header.bytes) return false;
  out = rest.substr(header.bytes, size_t(header.length));
  rest.remove_prefix(header.bytes + size_t(header.length));
  return true;
}

}  // namespace

bool Unpacker::map(uint32_t& pairs) { return container(rest_, kFixMap, kMap16, 2, pairs); }

bool Unpacker::array(uint32_t& elements) {
  return container(rest_, kFixArray, kArray16, 1, elements);
}

bool Unpacker::nil() {
  if (first(rest_) != kNil) return false;
  rest_.remove_prefix(1);
  return true;
}

bool Unpacker::boolean(bool& value) {
  const uint8_t tag = first(rest_);
  if (tag != kFalse && tag != kTrue) return false;
  value = tag == kTrue;
  rest_.remove_prefix(1);
  return true;
}

bool Unpacker::uint(uint64_t& value) {
  const uint8_t tag = first(rest_);
  if (!rest_.empty() && tag < kFixMap) {
    value = tag;
    rest_.remove_prefix(1);
    return true;
  }
  if (tag >= kUint8 && tag < kUint8 + 4) {
    const size_t width = size_t(1) << (tag - kUint8);
    if (!number_at_1(rest_, width, value)) return false;
    rest_.remove_prefix(1 + width);
    return true;
  }
  Unpacker signed_form(rest_);
  int64_t number = 0;
  if (tag < kInt8 || tag >= kInt8 + 4 || !signed_form.integer(number) || number < 0) return false;
  value = uint64_t(number);
  rest_ = signed_form.rest_;
  return true;
}

bool Unpacker::integer(int64_t& value) {
  const uint8_t tag = first(rest_);
  if (!rest_.empty() && tag >= kNegativeFix) {
    value = int8_t(tag);
    rest_.remove_prefix(1);
    return true;
  }
  if (tag >= kInt8 && tag < kInt8 + 4) {
    const size_t width = size_t(1) << (tag - kInt8);
    uint64_t number = 0;
    if (!number_at_1(rest_, width, number)) return false;
    const unsigned unused_bits = unsigned(64 - 8 * width);
    value = int64_t(number << unused_bits) >> unused_bits;
    rest_.remove_prefix(1 + width);
    return true;
  }
  if (rest_.empty() || (tag >= kFixMap && (tag < kUint8 || tag >= kUint8 + 4))) return false;
  Unpacker unsigned_form(rest_);
  uint64_t number = 0;
  if (!unsigned_form.uint(number) || number > uint64_t(std::numeric_limits<int64_t>::max())) {
    return false;
  }
  value = int64_t(number);
  rest_ = unsigned_form.rest_;
  return true;
}

bool Unpacker::real(double& value) {
  const uint8_t tag = first(rest_);
  uint64_t bits = 0;
  if (tag == kFloat64) {
    if (!number_at_1(rest_, 8, bits)) return false;
    value = std::bit_cast<double>(bits);
    rest_.remove_prefix(9);
    return true;
  }
  if (tag == kFloat32) {
    if (!number_at_1(rest_, 4, bits)) return false;
    value = double(std::bit_cast<float>(uint32_t(bits)));
    rest_.remove_prefix(5);
    return true;
  }
  int64_t number = 0;
  if (uint(bits)) {
    value = double(bits);
  } else if (integer(number)) {
    value = double(number);
  } else {
    return false;
  }
  return true;
}

bool Unpacker::str(std::string_view& text) {
  Header header;
  return (fix_header(rest_, kFixStr, 0x1f, header) || wide_header(rest_, kStr8, 1, header)) &&
         body(rest_, header, text);
}

bool Unpacker::bin(std::string_view& bytes) {
  Header header;
  return wide_header(rest_, kBin8, 1, header) && body(rest_, header, bytes);
}

bool Unpacker::skip() {
  Unpacker ahead(rest_);
  // Objects that must still come.  Each takes at least one byte, so the sum cannot overflow.
  for (uint64_t left = 1; left > 0; --left) {
    uint32_t elements = 0;
    double real_number = 0;
    bool flag = false;
    std::string_view bytes;
    Header header;
    if (ahead.array(elements)) {
      left += elements;
    } else if (ahead.map(elements)) {
      left += 2 * uint64_t(elements);
    } else if (const uint8_t tag = first(ahead.rest_); tag >= kFixExt1 && tag < kFixExt1 + 5) {
      // One byte of type, then 1, 2, 4, 8 or 16.
      if (!body(ahead.rest_, {2, 0}, bytes)) return false;
      if (!body(ahead.rest_, {0, uint64_t(1) << (tag - kFixExt1)}, bytes)) return false;
    } else if (wide_header(ahead.rest_, kExt8, 1, header)) {
      ++header.bytes;  // the type
      if (!body(ahead.rest_, header, bytes)) return false;
    } else if (!ahead.str(bytes) && !ahead.bin(bytes) && !ahead.real(real_number) &&
               !ahead.boolean(flag) && !ahead.nil()) {
      return false;
    }
  }
  rest_ = ahead.rest_;
  return true;
}

}  // namespace insight::wire
