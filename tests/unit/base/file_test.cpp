// SPDX-License-Identifier: Apache-2.0
#include "bus/base/file.hpp"

#include <cstdlib>
#include <filesystem>
#include <string>

#include <doctest/doctest.h>

namespace insight {
namespace {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char path[] = "/tmp/insight-file-XXXXXX";
    path_ = mkdtemp(path);
  }

  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }

  std::string file(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

TEST_CASE("a file is replaced as a whole and read back") {
  TemporaryDirectory directory;
  const std::string path = directory.file("state");
  const std::string large(200'000, '\xff');

  CHECK_FALSE(replace_file(path, "first", Durability::process));
  CHECK(read_file(path).value() == "first");
  CHECK_FALSE(replace_file(path, large, Durability::machine));

  CHECK(read_file(path).value() == large);
  CHECK_FALSE(std::filesystem::exists(path + ".tmp"));
}

TEST_CASE("a file that cannot be replaced stays as it was and the reason names the path") {
  TemporaryDirectory directory;
  const std::string path = directory.file("state");
  REQUIRE_FALSE(replace_file(path, "first", Durability::process));
  std::filesystem::create_directory(path + ".tmp");

  const auto error = replace_file(path, "second", Durability::process);

  REQUIRE(error);
  CHECK(error->message.find(path) != std::string::npos);
  CHECK(read_file(path).value() == "first");
}

TEST_CASE("a symbolic link in the place of the temporary file is not followed") {
  TemporaryDirectory directory;
  const std::string path = directory.file("state");
  std::filesystem::create_symlink("/dev/full", directory.file("state.tmp"));

  CHECK(replace_file(path, "bytes", Durability::process));

  CHECK_FALSE(read_file(path));
}

}  // namespace
}  // namespace insight
