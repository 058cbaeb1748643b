// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"

namespace insight {

enum class Compression : uint8_t { none, zstd, gzip };

/// "none", "zstd", "gzip"; the end of a compressed file's name: "", ".zst", ".gz".
std::string_view to_string(Compression compression) noexcept;
std::string_view suffix_of(Compression compression) noexcept;

/// Writes what `from` holds, compressed, to `to` and waits until the disk has it.  Memory does not
/// grow with the file.  The bytes of `to`, or what went wrong; then, and when `stop` is requested,
/// `to` is not there.
Result<uint64_t> compress_file(const std::string& from, const std::string& to,
                               Compression compression, const std::stop_token& stop);

/// The bytes of a file as they were before it was compressed.  What it begins with tells how it
/// was, for gzip together with its name.  Memory does not grow with the file.  Thread-bound.
class ByteSource {
 public:
  static Result<ByteSource> open(const std::string& path);
  ~ByteSource();
  ByteSource(ByteSource&&) noexcept;
  ByteSource& operator=(ByteSource&&) noexcept;

  /// Appends up to a chunk to `out`; how many bytes, 0 at the end and after a failure.
  size_t read(std::string& out);

  /// Why reading ended before the end: a sentence without the path, else empty.
  const std::string& failure() const noexcept;

  /// True when the system could not read; the data may be all right.
  bool is_unreadable() const noexcept;

 private:
  struct Impl;
  explicit ByteSource(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace insight
