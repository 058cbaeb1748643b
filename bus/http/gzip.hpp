// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace insight {

/// A text as gzip, compressed piece by piece as it is asked for.  Thread-bound.  zlib stands behind
/// it.
class GzipReader {
 public:
  /// Bytes of memory that one takes, about.
  static constexpr size_t kBytes = 272 << 10;

  /// The text is not copied.  Throws std::bad_alloc.
  explicit GzipReader(std::string_view text);
  ~GzipReader();
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  /// Writes what comes next, as much as there is room for; 0 at the end.
  size_t read(std::span<char> out) noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace insight
