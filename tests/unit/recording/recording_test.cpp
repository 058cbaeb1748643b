// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "bus/base/file.hpp"
#include "bus/recording/compression.hpp"
#include "bus/recording/frame.hpp"
#include "bus/recording/recording_reader.hpp"
#include "bus/wire/encoder.hpp"
#include "bus/wire/limits.hpp"
#include "bus/wire/pack.hpp"
#include "tests/support/temporary_directory.hpp"

namespace insight {
namespace {

std::string envelope(uint64_t seq, size_t padding = 0) {
  wire::EnvelopeHead head;
  head.inc.bytes.fill(7);
  head.seq = seq;
  head.t0_ns = 1;
  const std::string resource = wire::encode_resource({{{"pad", std::string(padding, 'x')}}});
  head.resource = resource;
  wire::EnvelopeWriter writer;
  writer.start(head);
  return std::string(writer.finish({.wall_ns = 5, .mono_ns = 5}));
}

std::string recording(uint64_t frames, size_t padding = 0) {
  std::string bytes;
  for (uint64_t i = 1; i <= frames; ++i) append_frame(100 + i, envelope(i, padding), bytes);
  return bytes;
}

struct File {
  explicit File(std::string_view bytes, const std::string& name = "x.envelope")
      : path(directory.path() + "/" + name) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  test::TemporaryDirectory directory;
  std::string path;
};

struct Read {
  std::vector<uint64_t> received;
  std::string damage;
  std::string refusal;
};

Read read_all(const std::string& path) {
  Read result;
  Result<RecordingReader> reader = RecordingReader::open(path);
  if (!reader) {
    result.refusal = reader.error().message.substr(path.size() + 2);
    return result;
  }
  while (const auto each = reader->next()) result.received.push_back(each->received_ns);
  CHECK(reader->frames() == result.received.size());
  result.damage = reader->damage();
  return result;
}

}  // namespace

TEST_CASE("the checksum is CRC-32C") {
  CHECK(crc32c("") == 0);
  CHECK(crc32c("123456789") == 0xE3069283);
  CHECK(crc32c(std::string(32, '\0')) == 0x8A9136AA);
  CHECK(crc32c("6789", crc32c("12345")) == 0xE3069283);
}

TEST_CASE("a frame is length, checksum, time and message, all little-endian") {
  std::string bytes;
  append_frame(0x0102030405060708, "123456789", bytes);

  CHECK(bytes.substr(0, 4) == std::string("\x09\0\0\0", 4));
  CHECK(bytes.substr(8) ==
        "\x08\x07\x06\x05\x04\x03\x02\x01"
        "123456789");
  const size_t size = bytes.size();
  bytes += "more";
  const FrameView frame = read_frame(bytes);
  CHECK(frame.state == FrameView::State::whole);
  CHECK(frame.received_ns == 0x0102030405060708);
  CHECK(frame.message == "123456789");
  CHECK(frame.bytes == size);
}

TEST_CASE("no bit of a frame can change without being seen") {
  std::string bytes;
  append_frame(77, "a message", bytes);

  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    CHECK(read_frame(damaged).state != FrameView::State::whole);
  }
}

TEST_CASE("a length that no envelope has is no frame, and zeros are none") {
  std::string bytes;
  append_frame(1, std::string(wire::kMaxEnvelopeBytes, 'x'), bytes);
  CHECK(read_frame(bytes).state == FrameView::State::whole);
  append_frame(1, std::string(wire::kMaxEnvelopeBytes + 1, 'x'), bytes = "");
  CHECK(read_frame(bytes).state == FrameView::State::wrong);
  CHECK(read_frame(std::string(64, '\0')).state == FrameView::State::wrong);
}

TEST_CASE("what was written is read again, plain and compressed") {
  const std::string bytes = recording(5'000, 100);
  const File plain(bytes);
  const File empty("");
  for (const Compression compression : {Compression::zstd, Compression::gzip}) {
    const std::string path = plain.path + std::string(suffix_of(compression));
    const Result<uint64_t> size = compress_file(plain.path, path, compression, {});
    REQUIRE(size);
    CHECK(*size == read_file(path)->size());
    CHECK(*size < bytes.size());

    const Read read = read_all(path);
    CHECK(read.received.size() == 5'000);
    CHECK(read.received.back() == 5'100);
    CHECK(read.damage.empty());
    CHECK(read.refusal.empty());
  }
  CHECK(read_all(plain.path).received.size() == 5'000);
  const Read nothing = read_all(empty.path);
  CHECK((nothing.received.empty() && nothing.damage.empty() && nothing.refusal.empty()));
}

TEST_CASE("compressed files put one behind the other are read as one") {
  const File plain(recording(3));
  for (const Compression compression : {Compression::zstd, Compression::gzip}) {
    const std::string path = plain.path + std::string(suffix_of(compression));
    REQUIRE(compress_file(plain.path, path, compression, {}));
    const std::string once = *read_file(path);
    std::ofstream(path, std::ios::binary) << once << once;

    CHECK(read_all(path).received.size() == 6);
    CHECK(read_all(path).damage.empty());
  }
}

TEST_CASE("a file that is cut off anywhere gives its whole frames and says what is left") {
  std::string bytes;
  std::vector<size_t> ends{0};
  for (uint64_t i = 1; i <= 3; ++i) {
    append_frame(i, envelope(i), bytes);
    ends.push_back(bytes.size());
  }
  for (size_t size = 0; size <= bytes.size(); ++size) {
    CAPTURE(size);
    const File file(std::string_view(bytes).substr(0, size));
    size_t whole = 0;
    while (whole + 1 < ends.size() && ends[whole + 1] <= size) ++whole;
    const size_t left = size - ends[whole];

    const Read read = read_all(file.path);

    CHECK(read.refusal.empty());
    CHECK(read.received.size() == whole);
    CHECK(read.damage == (left == 0 ? ""
                                    : "cut off at byte " + std::to_string(ends[whole]) + ": " +
                                          std::to_string(left) +
                                          (left == 1 ? " byte is" : " bytes are") + " left over"));
  }
}

TEST_CASE("a compressed file that is cut off gives whole frames and says so") {
  const File plain(recording(2'000, 200));
  for (const Compression compression : {Compression::zstd, Compression::gzip}) {
    const std::string path = plain.path + std::string(suffix_of(compression));
    REQUIRE(compress_file(plain.path, path, compression, {}));
    const std::string bytes = *read_file(path);
    for (const size_t size : {bytes.size() - 1, bytes.size() / 2, bytes.size() / 3}) {
      std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes.substr(0, size);
      const Read read = read_all(path);
      CHECK(read.received.size() <= 2'000);
      CHECK(read.damage.starts_with("cut off at byte "));
      CHECK(read.damage.ends_with("(the compressed data is cut off)"));
    }
  }
}

TEST_CASE("a damaged frame ends the file with its place, and the rest is counted") {
  std::string bytes = recording(3);
  const size_t frame = bytes.size() / 3;
  bytes[frame + 20] = static_cast<char>(bytes[frame + 20] ^ 1);
  const File file(bytes);

  const Read read = read_all(file.path);

  CHECK(read.received.size() == 1);
  CHECK(read.damage == "damaged at byte " + std::to_string(frame) + ": " +
                           std::to_string(2 * frame) + " bytes are left over");
}

TEST_CASE("what is no recording is refused in a line") {
  const std::string no_recording =
      "is no recording of envelopes (the file sink writes them with format = \"envelope\")";
  CHECK(read_all(File("{\"type\":\"point\"}\n").path).refusal == no_recording);
  CHECK(read_all(File(std::string(100, '\0')).path).refusal == no_recording);
  std::string newer;
  wire::Packer pack(newer);
  pack.map(1), pack.str("v"), pack.uint(2);
  std::string bytes;
  append_frame(1, newer, bytes);
  CHECK(read_all(File(bytes).path).refusal ==
        "holds envelopes of another version than 1, so a newer program wrote it");
  append_frame(1, "hello", bytes = "");
  CHECK(read_all(File(bytes).path).refusal == "holds frames, but no envelopes in them");
  CHECK(read_all("/nowhere/x").refusal == "No such file or directory");
  CHECK(read_all("/dev").refusal == "not a regular file");
}

TEST_CASE("compressing leaves nothing behind when it is stopped or fails") {
  const File plain(recording(10));
  const std::string to = plain.path + ".zst";
  std::stop_source stop;
  stop.request_stop();

  CHECK_FALSE(compress_file(plain.path, to, Compression::zstd, stop.get_token()));
  CHECK_FALSE(read_file(to));
  CHECK_FALSE(compress_file(plain.path + ".gone", to, Compression::gzip, {}));
  CHECK_FALSE(read_file(to));
}

}  // namespace insight
