// SPDX-License-Identifier: Apache-2.0
#include "sinks/file/rotating_file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace insight {

namespace {

constexpr std::string_view kSuffix = ".jsonl";

[[noreturn]] void fail(const std::string& path, int error = errno) {
  throw std::system_error(error, std::generic_category(), path);
}

/// The number in "<name>-<number>.jsonl".
std::optional<uint64_t> number_of(std::string_view file, std::string_view name) {
  if (!file.starts_with(name) || !file.ends_with(kSuffix)) return std::nullopt;
  file.remove_prefix(name.size());
  if (file.size() <= kSuffix.size() || file.front() != '-') return std::nullopt;
  file.remove_prefix(1);
  file.remove_suffix(kSuffix.size());
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(file.data(), file.data() + file.size(), number);
  if (error != std::errc() || end != file.data() + file.size()) return std::nullopt;
  return number;
}

}  // namespace

RotatingFile::RotatingFile(std::string directory, std::string name, uint64_t keep)
    : directory_(std::move(directory)),
      name_(std::move(name)),
      path_(directory_ + "/" + name_ + std::string(kSuffix)),
      keep_(keep) {}

std::string RotatingFile::path_of(uint64_t number) const {
  std::string digits = std::to_string(number);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');  // so that names sort by age
  return directory_ + "/" + name_ + "-" + digits + std::string(kSuffix);
}

void RotatingFile::open() {
  if (fd_) return;
  std::filesystem::create_directories(directory_);
  if (!lock_) {
    Result<PathLock> lock = PathLock::take(path_);
    if (!lock) throw std::runtime_error(lock.error().message);
    lock_ = std::move(lock).value();
  }
  find_whole_files();
  // Whatever else bears that name: a link must not lead elsewhere, a pipe cannot be cut.
  UniqueFd fd(::open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd) fail(path_);
  struct stat info{};
  if (fstat(fd.get(), &info) != 0) fail(path_);
  if (!S_ISREG(info.st_mode)) throw std::runtime_error(path_ + " is not a regular file");
  fd_ = std::move(fd);
  size_ = static_cast<uint64_t>(info.st_size);
  try {
    cut_torn_line();
  } catch (...) {
    fd_.reset();
    throw;
  }
  remove_surplus();
}

void RotatingFile::close() noexcept {
  fd_.reset();
  lock_.reset();
}

bool RotatingFile::is_in_place() const noexcept {
  struct stat at_path{};
  struct stat open_file{};
  return fd_ && stat(path_.c_str(), &at_path) == 0 && fstat(fd_.get(), &open_file) == 0 &&
         at_path.st_ino == open_file.st_ino && at_path.st_dev == open_file.st_dev;
}

void RotatingFile::append(std::string_view lines) {
  while (!lines.empty()) {
    const ssize_t written = ::write(fd_.get(), lines.data(), lines.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(path_, written < 0 ? errno : EIO);
    size_ += static_cast<uint64_t>(written);
    lines.remove_prefix(static_cast<size_t>(written));
  }
}

void RotatingFile::truncate(uint64_t size) {
  if (ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) fail(path_);
  size_ = size;
}

void RotatingFile::sync() {
  if (fdatasync(fd_.get()) != 0) fail(path_);
}

void RotatingFile::rotate() {
  sync();  // flush() reaches only the file that is open then
  const std::string path = path_of(next_number_);
  if (rename(path_.c_str(), path.c_str()) != 0) fail(path);
  fd_.reset();
  size_ = 0;
}

std::optional<std::string> RotatingFile::remove_oldest() noexcept {
  if (whole_.empty()) return std::nullopt;
  std::string path = path_of(whole_.front().number);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return std::nullopt;
  whole_bytes_ -= whole_.front().bytes;
  whole_.erase(whole_.begin());
  return path;
}

void RotatingFile::find_whole_files() {
  whole_.clear();
  whole_bytes_ = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    const std::optional<uint64_t> number = number_of(entry.path().filename().native(), name_);
    std::error_code error;
    if (!number || !entry.is_regular_file(error)) continue;
    const uint64_t bytes = entry.file_size(error);
    if (error || entry.path().native() != path_of(*number)) continue;
    whole_.push_back({*number, bytes});
    whole_bytes_ += bytes;
  }
  std::ranges::sort(whole_, {}, &Whole::number);
  next_number_ = whole_.empty() ? 1 : whole_.back().number + 1;
}

void RotatingFile::remove_surplus() {
  while (files() > keep_ && remove_oldest()) continue;
}

void RotatingFile::cut_torn_line() {
  std::array<char, 65536> chunk;
  uint64_t end = size_;
  while (end > 0) {
    const uint64_t from = end - std::min<uint64_t>(end, chunk.size());
    const ssize_t got = pread(fd_.get(), chunk.data(), end - from, static_cast<off_t>(from));
    if (got < 0 || static_cast<uint64_t>(got) != end - from) fail(path_, got < 0 ? errno : EIO);
    const size_t newline = std::string_view(chunk.data(), static_cast<size_t>(got)).rfind('\n');
    if (newline != std::string_view::npos) {
      end = from + newline + 1;
      break;
    }
    end = from;
  }
  if (end == size_) return;
  truncate(end);
  ++torn_lines_;
}

}  // namespace insight
