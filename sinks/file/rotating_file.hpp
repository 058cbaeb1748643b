// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/path_lock.hpp"
#include "bus/base/unique_fd.hpp"
#include "bus/recording/compression.hpp"
#include "sinks/file/compression_job.hpp"

namespace insight {

enum class FileFormat : uint8_t { jsonl, envelope };

struct RotatingFileOptions {
  std::string directory;
  std::string name;
  FileFormat format = FileFormat::jsonl;
  uint64_t keep = 4;  ///< files at most, the one that grows among them
  /// A file holds what was written in one period of this length; periods begin at whole multiples
  /// since 1970 UTC.  0: files are not divided by time.
  uint64_t every_ns = 0;
  Compression compression = Compression::none;  ///< of files that are whole
};

/// `<name>.jsonl`, which grows, and beside it `<name>-<number>.jsonl`, which are whole and are
/// compressed in time; the highest number is the newest.  (With format envelope the end is
/// `.envelope`.)  All records are whole, whatever happened to the process or the disk.
/// Thread-bound.  What can fail throws std::system_error, or std::runtime_error when another
/// process has the file.
class RotatingFile {
 public:
  explicit RotatingFile(RotatingFileOptions options);

  /// Creates the directory, takes the lock, cuts off a record that was not written to its end, and
  /// goes on behind it; a file that is damaged otherwise is put aside as a whole one.  Does nothing
  /// when it is open.
  void open();
  void close() noexcept;

  bool is_open() const noexcept { return static_cast<bool>(fd_); }

  /// False when the file was removed or renamed by somebody else: what is written would be lost.
  bool is_in_place() const noexcept;

  /// True when the file holds what was written in an earlier period.
  bool is_due(uint64_t wall_ns) const noexcept;

  /// Writes all of it; when it throws, a part may have been written.
  void append(std::string_view records, uint64_t wall_ns);
  void truncate(uint64_t size);
  /// Waits until the disk has what was written.
  void sync();

  /// Gives the file its number and leaves it closed; the lock is kept.  When it throws, the file
  /// still grows.
  void rotate();

  /// Removes the oldest whole file; its path, or nothing when there is none.
  std::optional<std::string> remove_oldest() noexcept;

  /// Takes over what was compressed since the last call, and begins with the next whole file.  What
  /// went wrong; that file stays as it is until open().
  std::optional<Error> compress_next();

  const std::string& path() const noexcept { return path_; }

  uint64_t size() const noexcept { return size_; }  ///< of the file that grows

  uint64_t files() const noexcept { return whole_.size() + 1; }

  uint64_t bytes() const noexcept { return size_ + whole_bytes_; }  ///< of all files

  uint64_t torn() const noexcept { return torn_; }  ///< records that were cut off

  uint64_t damaged() const noexcept { return damaged_; }  ///< files that were put aside

 private:
  struct Whole {
    uint64_t number = 0;
    uint64_t bytes = 0;
    Compression compression = Compression::none;
    bool is_final = false;  // compressing it has failed
  };

  std::string path_of(uint64_t number, Compression compression) const;
  void find_whole_files();
  void add_whole_file(const std::string& file);
  void remove_surplus();
  void open_behind_whole_records();
  bool open_at_end();
  uint64_t end_of_lines();
  std::optional<uint64_t> end_of_frames();
  std::optional<Error> take_compressed();

  bool is_compressing(uint64_t number) const noexcept {
    return job_.is_running() && compressing_ == number;
  }

  // Constant after construction.
  const RotatingFileOptions options_;
  const std::string suffix_;
  const std::string path_;

  std::optional<PathLock> lock_;
  UniqueFd fd_;
  uint64_t size_ = 0;
  uint64_t written_ns_ = 0;   // when it was last written to
  std::vector<Whole> whole_;  // oldest first
  uint64_t whole_bytes_ = 0;
  uint64_t next_number_ = 1;
  uint64_t torn_ = 0;
  uint64_t damaged_ = 0;
  uint64_t compressing_ = 0;  // the number of the file that job_ has
  CompressionJob job_;
};

}  // namespace insight
