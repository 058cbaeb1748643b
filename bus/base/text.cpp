// SPDX-License-Identifier: Apache-2.0
#include "bus/base/text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

namespace insight {

namespace {

/// Length of the well-formed sequence at the start of `text`; 0 when there is none.
size_t sequence_length(std::string_view text) noexcept {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto follows = [&](size_t i) { return i < text.size() && (byte(i) & 0xC0) == 0x80; };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return follows(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    if (!follows(1) || !follows(2)) return 0;
    if (lead == 0xE0 && byte(1) < 0xA0) return 0;  // overlong
    if (lead == 0xED && byte(1) > 0x9F) return 0;  // surrogate
    return 3;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    if (!follows(1) || !follows(2) || !follows(3)) return 0;
    if (lead == 0xF0 && byte(1) < 0x90) return 0;  // overlong
    if (lead == 0xF4 && byte(1) > 0x8F) return 0;  // above U+10FFFF
    return 4;
  }
  return 0;
}

uint64_t load64(const char* at) noexcept {
  uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

/// Both halves of the 128-bit product folded into one: the mixing step of wyhash.
uint64_t mix(uint64_t a, uint64_t b) noexcept {
  __extension__ using uint128 = unsigned __int128;
  const uint128 product = static_cast<uint128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, change}));
    }
  }
  return row[b.size()];
}

struct Unit {
  std::string_view name;
  uint64_t factor;
};

constexpr std::array<Unit, 4> kSizes{
    {{"GiB", 1ull << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}};
constexpr std::array<Unit, 7> kDurations{{{"d", 86'400'000'000'000},
                                          {"h", 3'600'000'000'000},
                                          {"m", 60'000'000'000},
                                          {"s", 1'000'000'000},
                                          {"ms", 1'000'000},
                                          {"us", 1'000},
                                          {"ns", 1}}};

bool parse_quantity(std::string_view text, std::span<const Unit> units, uint64_t& out) noexcept {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || !std::isfinite(number) || number < 0) return false;
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  for (const Unit& u : units) {
    if (u.name != unit) continue;
    const double value = number * static_cast<double>(u.factor);
    if (value >= 9.2e18) return false;
    out = static_cast<uint64_t>(std::llround(value));
    return true;
  }
  return false;
}

/// The largest unit that gives a whole number.
std::string format_quantity(uint64_t value, std::span<const Unit> units) {
  if (value == 0) return "0" + std::string(units.size() == kSizes.size() ? "B" : "s");
  for (const Unit& u : units) {
    if (value % u.factor == 0) return std::to_string(value / u.factor) + std::string(u.name);
  }
  return std::to_string(value);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    // Eight ASCII bytes at a time: label values and names hardly hold anything else.
    while (text.size() >= 8 && (load64(&text.front()) & 0x8080808080808080) == 0) {
      text.remove_prefix(8);
    }
    if (text.empty()) break;
    const size_t length = sequence_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string to_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = sequence_length(text);
    if (length == 0) {
      out += "\xEF\xBF\xBD";
      text.remove_prefix(1);
    } else {
      out += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return out;
}

std::string to_hex(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
  std::string_view best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (std::string_view candidate : candidates) {
    // Who typed a beginning meant what it begins, however long that is.
    const bool is_beginning = word.size() >= 2 && candidate.starts_with(word);
    const size_t distance = is_beginning ? 1 : edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
        hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string out;
  for (const char& c : text) {
    if (kPlain.find(c) != std::string_view::npos) {
      out += c;
    } else {
      out.append("%").append(to_hex({&c, 1}));
    }
  }
  return out;
}

bool matches_glob(std::string_view pattern, std::string_view text) noexcept {
  // Only the last '*' is ever tried again, so the time is bounded by the product of both lengths.
  size_t p = 0, t = 0, star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

uint64_t keyed_hash(std::string_view bytes, uint64_t key) noexcept {
  // wyhash's shape: two words a round, mixed by a 128-bit product with the key inside.
  constexpr uint64_t p0 = 0xa0761d6478bd642f, p1 = 0xe7037ed1a0b428db, p2 = 0x8ebc6af09c88c6e3;
  const char* at = bytes.data();
  size_t left = bytes.size();
  uint64_t state = mix(key ^ p0, p1);
  while (left > 16) {
    state = mix(load64(at) ^ p1 ^ key, load64(at + 8) ^ state);
    at += 16;
    left -= 16;
  }
  std::array<char, 16> tail{};
  if (left > 0) std::memcpy(tail.data(), at, left);
  state = mix(load64(tail.data()) ^ p1 ^ key, load64(tail.data() + 8) ^ state);
  return mix(state ^ p2, bytes.size() ^ p1 ^ key);
}

void random_bytes(std::span<std::byte> out) noexcept {
  while (!out.empty()) {
    const ssize_t got = getrandom(out.data(), out.size(), 0);
    if (got > 0) out = out.subspan(static_cast<size_t>(got));
    // Only a signal can interrupt a short read of the kernel's source; then ask again.
  }
}

uint64_t random_key() noexcept {
  uint64_t key = 0;
  random_bytes(std::as_writable_bytes(std::span(&key, 1)));
  return key;
}

bool parse_size(std::string_view text, uint64_t& bytes) noexcept {
  return parse_quantity(text, kSizes, bytes);
}

bool parse_duration(std::string_view text, uint64_t& nanoseconds) noexcept {
  return parse_quantity(text, kDurations, nanoseconds);
}

std::string format_size(uint64_t bytes) { return format_quantity(bytes, kSizes); }

std::string format_duration(uint64_t nanoseconds) {
  return format_quantity(nanoseconds, kDurations);
}

}  // namespace insight
