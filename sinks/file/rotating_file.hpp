// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/path_lock.hpp"
#include "bus/base/unique_fd.hpp"

namespace insight {

/// `<name>.jsonl`, which grows, and beside it `<name>-<number>.jsonl`, which are whole; the highest
/// number is the newest.  All lines are whole, whatever happened to the process or the disk.
/// Thread-bound. What can fail throws std::system_error, or std::runtime_error when another process
/// has the file.
class RotatingFile {
 public:
  /// At most `keep` files, the one that grows among them.
  RotatingFile(std::string directory, std::string name, uint64_t keep);

  /// Creates the directory, takes the lock, cuts off a line that was not written to its end, and
  /// goes on behind it.  Does nothing when it is open.
  void open();
  void close() noexcept;

  bool is_open() const noexcept { return static_cast<bool>(fd_); }

  /// False when the file was removed or renamed by somebody else: what is written would be lost.
  bool is_in_place() const noexcept;

  /// Writes all of it; when it throws, a part may have been written.
  void append(std::string_view lines);
  void truncate(uint64_t size);
  /// Waits until the disk has what was written.
  void sync();

  /// Gives the file its number and leaves it closed; the lock is kept.  When it throws, the file
  /// still grows.
  void rotate();

  /// Removes the oldest whole file; its path, or nothing when there is none.
  std::optional<std::string> remove_oldest() noexcept;

  const std::string& path() const noexcept { return path_; }

  uint64_t size() const noexcept { return size_; }  ///< of the file that grows

  uint64_t files() const noexcept { return whole_.size() + 1; }

  uint64_t bytes() const noexcept { return size_ + whole_bytes_; }  ///< of all files

  uint64_t torn_lines() const noexcept { return torn_lines_; }

 private:
  struct Whole {
    uint64_t number = 0;
    uint64_t bytes = 0;
  };

  std::string path_of(uint64_t number) const;
  void find_whole_files();
  void remove_surplus();
  void cut_torn_line();

  // Constant after construction.
  std::string directory_;
  std::string name_;
  std::string path_;
  uint64_t keep_;

  std::optional<PathLock> lock_;
  UniqueFd fd_;
  uint64_t size_ = 0;
  std::vector<Whole> whole_;  // oldest first
  uint64_t whole_bytes_ = 0;
  uint64_t next_number_ = 1;
  uint64_t torn_lines_ = 0;
};

}  // namespace insight
