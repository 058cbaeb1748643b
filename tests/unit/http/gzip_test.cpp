// SPDX-License-Identifier: Apache-2.0
#include "bus/http/gzip.hpp"

#include <array>
#include <string>

#include <doctest/doctest.h>
#include <zlib.h>

namespace insight {
namespace {

std::string read_all(GzipReader& reader, size_t piece) {
  std::string out, buffer(piece, '\0');
  while (const size_t n = reader.read(buffer)) out.append(buffer, 0, n);
  return out;
}

std::string unzip(std::string bytes) {
  z_stream stream{};
  REQUIRE(inflateInit2(&stream, 15 + 16) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::string out;
  std::array<char, 4096> buffer{};
  int result = Z_OK;
  while (result == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = buffer.size();
    result = inflate(&stream, Z_NO_FLUSH);
    out.append(buffer.data(), buffer.size() - stream.avail_out);
  }
  CHECK(result == Z_STREAM_END);
  CHECK(stream.avail_in == 0);
  inflateEnd(&stream);
  return out;
}

}  // namespace

TEST_CASE("what was compressed in pieces of any size is the text again") {
  std::string text;
  for (int i = 0; i < 5'000; ++i)
    text += "rl_tokens_total{worker=\"" + std::to_string(i) + "\"} 1\n";
  for (const size_t piece : {1, 7, 4096, 1 << 20}) {
    GzipReader reader(text);
    const std::string bytes = read_all(reader, piece);

    CHECK(bytes.size() < text.size() / 5);
    CHECK(unzip(bytes) == text);
    std::array<char, 8> more{};
    CHECK(reader.read(more) == 0);
  }
}

TEST_CASE("an empty text is a whole file, too") {
  GzipReader reader("");
  CHECK(unzip(read_all(reader, 100)).empty());
}

}  // namespace insight
