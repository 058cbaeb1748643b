// SPDX-License-Identifier: Apache-2.0
#include "bus/recording/frame.hpp"

#include <array>

#include "bus/wire/limits.hpp"

namespace insight {

namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // Castagnoli, reflected

/// kTables[k][b]: the checksum of the byte b followed by k zero bytes, so that eight bytes are
/// looked up at once.
constexpr std::array<std::array<uint32_t, 256>, 8> make_tables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables[k - 1][byte];
      tables[k][byte] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}

constexpr auto kTables = make_tables();

template <typename T>
T read_little(const char* at) noexcept {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value |= static_cast<T>(static_cast<unsigned char>(at[i])) << (8 * i);
  }
  return value;
}

template <typename T>
void append_little(T value, std::string& out) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
}

}  // namespace

uint32_t crc32c(std::string_view bytes, uint32_t before) noexcept {
  uint32_t crc = ~before;
  while (bytes.size() >= 8) {
    const uint32_t low = crc ^ read_little<uint32_t>(bytes.data());
    const uint32_t high = read_little<uint32_t>(bytes.data() + 4);
    crc = kTables[7][low & 0xFF] ^ kTables[6][low >> 8 & 0xFF] ^ kTables[5][low >> 16 & 0xFF] ^
          kTables[4][low >> 24] ^ kTables[3][high & 0xFF] ^ kTables[2][high >> 8 & 0xFF] ^
          kTables[1][high >> 16 & 0xFF] ^ kTables[0][high >> 24];
    bytes.remove_prefix(8);
  }
  for (const char c : bytes) {
    crc = (crc >> 8) ^ kTables[0][(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  }
  return ~crc;
}

void append_frame(uint64_t received_ns, std::string_view message, std::string& out) {
  const size_t start = out.size();
  append_little(static_cast<uint32_t>(message.size()), out);
  append_little(uint32_t{0}, out);
  append_little(received_ns, out);
  out += message;
  const uint32_t crc = crc32c(std::string_view(out).substr(start + 8));
  for (size_t i = 0; i < 4; ++i) out[start + 4 + i] = static_cast<char>(crc >> (8 * i) & 0xFF);
}

FrameView read_frame(std::string_view bytes) noexcept {
  FrameView frame;
  if (bytes.size() >= 4) {
    const auto length = read_little<uint32_t>(bytes.data());
    if (length == 0 || length > wire::kMaxEnvelopeBytes) {
      frame.state = FrameView::State::wrong;
      return frame;
    }
    frame.bytes = kFrameHeadBytes + length;
  }
  if (frame.bytes == 0 || bytes.size() < frame.bytes) return frame;
  const std::string_view checked = bytes.substr(8, frame.bytes - 8);
  if (crc32c(checked) != read_little<uint32_t>(bytes.data() + 4)) {
    frame.state = FrameView::State::wrong;
    return frame;
  }
  frame.state = FrameView::State::whole;
  frame.received_ns = read_little<uint64_t>(bytes.data() + 8);
  frame.message = checked.substr(8);
  return frame;
}

}  // namespace insight
