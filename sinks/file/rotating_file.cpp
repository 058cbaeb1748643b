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

#include "bus/base/clock.hpp"
#include "bus/recording/recording_reader.hpp"

namespace insight {

namespace {

constexpr std::array kCompressions{Compression::none, Compression::zstd, Compression::gzip};

[[noreturn]] void fail(const std::string& path, int error = errno) {
  throw std::system_error(error, std::generic_category(), path);
}

/// The number in "<name>-<number><suffix>".
std::optional<uint64_t> number_of(std::string_view file, std::string_view name,
                                  std::string_view suffix) {
  if (!file.starts_with(name) || !file.ends_with(suffix)) return std::nullopt;
  file.remove_prefix(name.size());
  if (file.size() <= suffix.size() || file.front() != '-') return std::nullopt;
  file.remove_prefix(1);
  file.remove_suffix(suffix.size());
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(file.data(), file.data() + file.size(), number);
  if (error != std::errc() || end != file.data() + file.size()) return std::nullopt;
  return number;
}

}  // namespace

RotatingFile::RotatingFile(RotatingFileOptions options)
    : options_(std::move(options)),
      suffix_(options_.format == FileFormat::jsonl ? ".jsonl" : ".envelope"),
      path_(options_.directory + "/" + options_.name + suffix_) {}

std::string RotatingFile::path_of(uint64_t number, Compression compression) const {
  std::string digits = std::to_string(number);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');  // so that names sort by age
  return options_.directory + "/" + options_.name + "-" + digits + suffix_ +
         std::string(suffix_of(compression));
}

void RotatingFile::open() {
  if (fd_) return;
  try {
    open_behind_whole_records();
  } catch (...) {
    fd_.reset();  // the next call must not take it for a file that is ready
    size_ = 0;
    throw;
  }
}

void RotatingFile::open_behind_whole_records() {
  std::filesystem::create_directories(options_.directory);
  if (!lock_) {
    Result<PathLock> lock = PathLock::take(path_);
    if (!lock) throw std::runtime_error(lock.error().message);
    lock_ = std::move(lock).value();
  }
  find_whole_files();
  if (!open_at_end()) {
    rotate();
    ++damaged_;
    find_whole_files();
    open_at_end();
  }
  remove_surplus();
}

/// Opens the file that grows.  False when its end cannot be found.
bool RotatingFile::open_at_end() {
  // Whatever else bears that name: a link must not lead elsewhere, a pipe cannot be cut.
  UniqueFd fd(::open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd) fail(path_);
  struct stat info{};
  if (fstat(fd.get(), &info) != 0) fail(path_);
  if (!S_ISREG(info.st_mode)) throw std::runtime_error(path_ + " is not a regular file");
  fd_ = std::move(fd);
  size_ = static_cast<uint64_t>(info.st_size);
  written_ns_ = static_cast<uint64_t>(info.st_mtim.tv_sec) * kSecond +
                static_cast<uint64_t>(info.st_mtim.tv_nsec);
  const std::optional<uint64_t> end =
      options_.format == FileFormat::jsonl ? end_of_lines() : end_of_frames();
  if (!end) return false;
  if (*end != size_) {
    truncate(*end);
    ++torn_;
  }
  return true;
}

void RotatingFile::close() noexcept {
  job_.cancel();
  fd_.reset();
  lock_.reset();
}

bool RotatingFile::is_in_place() const noexcept {
  struct stat at_path{};
  struct stat open_file{};
  return fd_ && stat(path_.c_str(), &at_path) == 0 && fstat(fd_.get(), &open_file) == 0 &&
         at_path.st_ino == open_file.st_ino && at_path.st_dev == open_file.st_dev;
}

bool RotatingFile::is_due(uint64_t wall_ns) const noexcept {
  return options_.every_ns != 0 && size_ > 0 &&
         wall_ns / options_.every_ns > written_ns_ / options_.every_ns;
}

void RotatingFile::append(std::string_view records, uint64_t wall_ns) {
  if (!records.empty()) written_ns_ = wall_ns;
  while (!records.empty()) {
    const ssize_t written = ::write(fd_.get(), records.data(), records.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(path_, written < 0 ? errno : EIO);
    size_ += static_cast<uint64_t>(written);
    records.remove_prefix(static_cast<size_t>(written));
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
  const std::string path = path_of(next_number_, Compression::none);
  if (rename(path_.c_str(), path.c_str()) != 0) fail(path);
  fd_.reset();
  size_ = 0;
}

std::optional<std::string> RotatingFile::remove_oldest() noexcept {
  if (whole_.empty()) return std::nullopt;
  const Whole& oldest = whole_.front();
  std::string path = path_of(oldest.number, oldest.compression);
  if (is_compressing(oldest.number)) {
    job_.cancel();  // what it has open would stay on the disk
    unlink(path_of(oldest.number, options_.compression).c_str());
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return std::nullopt;
  whole_bytes_ -= oldest.bytes;
  whole_.erase(whole_.begin());
  return path;
}

void RotatingFile::find_whole_files() {
  whole_.clear();
  whole_bytes_ = 0;
  for (const auto& entry : std::filesystem::directory_iterator(options_.directory)) {
    std::error_code error;
    if (entry.is_regular_file(error)) add_whole_file(entry.path().native());
  }
  std::ranges::sort(whole_, [](const Whole& a, const Whole& b) {
    return std::pair(a.number, a.compression) < std::pair(b.number, b.compression);
  });
  // Killed between the two steps of compressing: both are whole, the plain one was to go.
  for (size_t i = 1; i < whole_.size();) {
    const Whole& plain = whole_[i - 1];
    if (whole_[i].number != plain.number) {
      ++i;
    } else if (is_compressing(plain.number)) {
      whole_.erase(whole_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      unlink(path_of(plain.number, plain.compression).c_str());
      whole_.erase(whole_.begin() + static_cast<std::ptrdiff_t>(i - 1));
    }
  }
  for (const Whole& whole : whole_) whole_bytes_ += whole.bytes;
  next_number_ = whole_.empty() ? 1 : whole_.back().number + 1;
}

/// Adds a file of this directory when it is one of ours; removes what compressing left half done.
void RotatingFile::add_whole_file(const std::string& file) {
  const std::string name = std::filesystem::path(file).filename().native();
  for (const Compression compression : kCompressions) {
    const std::string suffix = suffix_ + std::string(suffix_of(compression));
    const auto number = number_of(name, options_.name, suffix);
    if (number && file == path_of(*number, compression)) {
      std::error_code error;
      const uint64_t bytes = std::filesystem::file_size(file, error);
      if (!error) whole_.push_back({*number, bytes, compression});
      return;
    }
    const auto half_done = number_of(name, options_.name, suffix + ".tmp");
    if (half_done && !is_compressing(*half_done) &&
        file == path_of(*half_done, compression) + ".tmp") {
      unlink(file.c_str());
    }
  }
}

void RotatingFile::remove_surplus() {
  while (files() > options_.keep && remove_oldest()) continue;
}

std::optional<Error> RotatingFile::compress_next() {
  if (options_.compression == Compression::none) return std::nullopt;
  std::optional<Error> error = take_compressed();
  if (error || job_.is_running()) return error;
  const auto plain = std::ranges::find_if(whole_, [](const Whole& whole) {
    return whole.compression == Compression::none && !whole.is_final;
  });
  if (plain == whole_.end()) return std::nullopt;
  try {
    job_.start(path_of(plain->number, Compression::none),
               path_of(plain->number, options_.compression), options_.compression);
  } catch (const std::system_error& e) {
    plain->is_final = true;
    return Error{std::string("no thread to compress it: ") + e.what()};
  }
  compressing_ = plain->number;
  return std::nullopt;
}

std::optional<Error> RotatingFile::take_compressed() {
  const std::optional<Result<uint64_t>> bytes = job_.take_result();
  if (!bytes) return std::nullopt;
  const auto whole = std::ranges::find(whole_, compressing_, &Whole::number);
  if (whole == whole_.end()) {  // it was removed meanwhile, to make room
    unlink(path_of(compressing_, options_.compression).c_str());
    return std::nullopt;
  }
  if (!*bytes) {
    whole->is_final = true;
    return bytes->error();
  }
  unlink(path_of(compressing_, Compression::none).c_str());
  whole_bytes_ = whole_bytes_ - whole->bytes + **bytes;
  whole->bytes = **bytes;
  whole->compression = options_.compression;
  return std::nullopt;
}

/// Behind the last newline.
uint64_t RotatingFile::end_of_lines() {
  std::array<char, 65536> chunk;
  uint64_t end = size_;
  while (end > 0) {
    const uint64_t from = end - std::min<uint64_t>(end, chunk.size());
    const ssize_t got = pread(fd_.get(), chunk.data(), end - from, static_cast<off_t>(from));
    if (got < 0 || static_cast<uint64_t>(got) != end - from) fail(path_, got < 0 ? errno : EIO);
    const size_t newline = std::string_view(chunk.data(), static_cast<size_t>(got)).rfind('\n');
    if (newline != std::string_view::npos) return from + newline + 1;
    end = from;
  }
  return 0;
}

/// Behind the last whole frame; nothing when something else than a part of a frame follows it.
std::optional<uint64_t> RotatingFile::end_of_frames() {
  // What cannot be read now may be all right.
  Result<ByteSource> source = ByteSource::open(path_);
  if (!source) throw std::runtime_error(source.error().message);
  Result<RecordingReader> reader = RecordingReader::open(std::move(*source), path_);
  if (!reader) return std::nullopt;
  while (reader->next()) continue;
  if (reader->state() == RecordingReader::State::unreadable) {
    throw std::runtime_error(path_ + ": " + reader->damage());
  }
  if (reader->state() == RecordingReader::State::damaged) return std::nullopt;
  return reader->bytes();
}

}  // namespace insight
