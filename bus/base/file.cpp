// SPDX-License-Identifier: Apache-2.0
#include "bus/base/file.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "bus/base/unique_fd.hpp"

namespace insight {

namespace {

Error failed(const std::string& path) { return Error{path + ": " + std::strerror(errno)}; }

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace

Result<std::string> read_file(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return failed(path);
  std::string bytes;
  std::array<char, 1 << 16> buffer;
  while (true) {
    const ssize_t got = read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed(path);
    if (got == 0) return bytes;
    bytes.append(buffer.data(), static_cast<size_t>(got));
  }
}

std::optional<Error> replace_file(const std::string& path, std::string_view bytes,
                                  Durability durability) {
  const std::string temporary = path + ".tmp";
  const UniqueFd fd(
      open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return failed(temporary);
  const bool is_written = write_all(fd.get(), bytes) &&
                          (durability == Durability::process || fsync(fd.get()) == 0) &&
                          std::rename(temporary.c_str(), path.c_str()) == 0;
  if (is_written) return std::nullopt;
  const Error error = failed(temporary);
  unlink(temporary.c_str());  // on a full disk its part would keep the next attempt from its room
  return error;
}

}  // namespace insight
