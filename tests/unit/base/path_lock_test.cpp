// SPDX-License-Identifier: Apache-2.0
#include "bus/base/path_lock.hpp"

#include <filesystem>
#include <optional>
#include <string>

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace insight;

namespace {

struct TemporaryDirectory {
  std::string path = (std::filesystem::temp_directory_path() / "insight-lock-XXXXXX").string();

  TemporaryDirectory() { REQUIRE(mkdtemp(path.data()) != nullptr); }

  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
};

}  // namespace

TEST_CASE("a second taker of a path is refused with the pid of the first") {
  const TemporaryDirectory directory;
  const std::string path = directory.path + "/bus.ipc";
  CHECK_FALSE(is_locked(path));

  std::optional<Result<PathLock>> first(PathLock::take(path));
  REQUIRE(*first);

  CHECK(is_locked(path));
  const Result<PathLock> second = PathLock::take(path);
  REQUIRE_FALSE(second);
  CHECK(second.error().message.find("pid " + std::to_string(getpid())) != std::string::npos);

  first.reset();
  CHECK_FALSE(is_locked(path));
  CHECK(PathLock::take(path));
}

TEST_CASE("a lock in a directory that does not exist is an error that names the file") {
  const Result<PathLock> lock = PathLock::take("/nonexistent/insight/bus.ipc");

  REQUIRE_FALSE(lock);
  CHECK(lock.error().message.find("/nonexistent/insight/bus.ipc.lock") != std::string::npos);
}

TEST_CASE("the holder of a listening port is named") {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(listen(fd.get(), 1) == 0);
  REQUIRE(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);

  CHECK(tcp_port_holder(ntohs(address.sin_port)).starts_with("pid " + std::to_string(getpid())));
}
