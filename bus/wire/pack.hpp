// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

/// msgpack for the bus's own files and tools.  Envelopes have their own encoder and decoder.
namespace insight::wire {

/// Appends msgpack to a string.  Value; the string must outlive it.
///
///     std::string out;
///     Packer pack(out);
///     pack.array(2), pack.str("total"), pack.real(1.5);
class Packer {
 public:
  explicit Packer(std::string& out) : out_(out) {}

  void map(uint32_t pairs);
  void array(uint32_t elements);
  void nil();
  void boolean(bool value);
  void uint(uint64_t value);
  void integer(int64_t value);
  void real(double value);  ///< always 9 bytes, bit by bit the same when it is read
  void str(std::string_view text);
  void bin(std::string_view bytes);

 private:
  std::string& out_;
};

/// Pulls msgpack out of bytes that may be damaged.  Value; views lead into the bytes.
///
/// A read that returns false has consumed nothing: other type, out of range, or the bytes end.
/// Nothing is read past the end, and the length of an array or a map is at most what the bytes left
/// can hold, so that it may be reserved.
class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : rest_(bytes) {}

  bool map(uint32_t& pairs);
  bool array(uint32_t& elements);
  bool nil();
  bool boolean(bool& value);
  bool uint(uint64_t& value);
  bool integer(int64_t& value);
  bool real(double& value);  ///< an integer too
  bool str(std::string_view& text);
  bool bin(std::string_view& bytes);

  /// Passes over one object of any type with all that is in it.
  bool skip();

  bool at_end() const noexcept { return rest_.empty(); }

  std::string_view rest() const noexcept { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace insight::wire
