// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace insight {

/// Appends plain values, little-endian, to a string.  A snapshot is written before each scrape is
/// answered, so each field must cost nanoseconds.
class ByteWriter {
 public:
  explicit ByteWriter(std::string& out) : out_(out) {}

  template <std::integral T>
  void number(T value) {
    static_assert(std::endian::native == std::endian::little);
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  void number(double value) { number(std::bit_cast<uint64_t>(value)); }

  void text(std::string_view value) {
    number(static_cast<uint32_t>(value.size()));
    out_ += value;
  }

  template <typename T>
  void numbers(const std::vector<T>& values) {
    number(static_cast<uint32_t>(values.size()));
    for (const T& value : values) number(value);
  }

 private:
  std::string& out_;
};

/// Reads what ByteWriter wrote, from bytes that may be anything.  After the first read beyond the
/// end is_good() is false and everything reads as zero or empty.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : left_(bytes) {}

  template <std::integral T>
  T number() {
    T value{};
    const std::string_view bytes = take(sizeof value);
    bytes.copy(reinterpret_cast<char*>(&value), sizeof value);
    return value;
  }

  double real() { return std::bit_cast<double>(number<uint64_t>()); }

  std::string_view text() { return take(number<uint32_t>()); }

  std::string_view take(size_t size) {
    if (size > left_.size()) {
      is_good_ = false;
      left_ = {};
      return {};
    }
    const std::string_view bytes = left_.substr(0, size);
    left_.remove_prefix(size);
    return bytes;
  }

  /// A count of things of at least `bytes_each`: never more than can follow.
  size_t count(size_t bytes_each) {
    const auto value = number<uint32_t>();
    if (value > left_.size() / bytes_each) {
      is_good_ = false;
      left_ = {};
      return 0;
    }
    return value;
  }

  void fail() noexcept { is_good_ = false; }

  bool is_good() const noexcept { return is_good_; }

  bool at_end() const noexcept { return left_.empty(); }

 private:
  std::string_view left_;
  bool is_good_ = true;
};

}  // namespace insight
