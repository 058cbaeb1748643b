// SPDX-License-Identifier: Apache-2.0
#include "sinks/file/compression_job.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "bus/base/unique_fd.hpp"

namespace insight {

namespace {

Result<uint64_t> compress(const std::string& from, const std::string& to, Compression compression,
                          const std::stop_token& stop) {
  const std::string temporary = to + ".tmp";
  Result<uint64_t> bytes = compress_file(from, temporary, compression, stop);
  if (!bytes) return bytes;
  if (std::rename(temporary.c_str(), to.c_str()) != 0) {
    const Error error{to + ": " + std::strerror(errno)};
    unlink(temporary.c_str());
    return error;
  }
  // The plain file goes next: its going must not reach the disk before the other's name.
  const UniqueFd directory(
      open(std::filesystem::path(to).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory) fsync(directory.get());
  return bytes;
}

}  // namespace

void CompressionJob::start(std::string from, std::string to, Compression compression) {
  has_ended_.store(false, std::memory_order_relaxed);
  thread_ = std::jthread(
      [this, from = std::move(from), to = std::move(to), compression](const std::stop_token& stop) {
        pthread_setname_np(pthread_self(), "file:compress");
        try {
          result_ = compress(from, to, compression, stop);
        } catch (const std::exception&) {
          result_ = Error{"out of memory"};
        }
        has_ended_.store(true, std::memory_order_release);
      });
}

std::optional<Result<uint64_t>> CompressionJob::take_result() {
  if (!is_running() || !has_ended_.load(std::memory_order_acquire)) return std::nullopt;
  thread_.join();
  return std::exchange(result_, std::nullopt);
}

void CompressionJob::cancel() noexcept {
  if (!is_running()) return;
  thread_.request_stop();
  thread_.join();
  result_.reset();
}

}  // namespace insight
