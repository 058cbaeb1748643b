// SPDX-License-Identifier: Apache-2.0
#include "bus/base/text.hpp"

#include <array>
#include <set>
#include <string>

#include <doctest/doctest.h>

using namespace insight;

TEST_CASE("well-formed UTF-8 is accepted, everything else is refused") {
  for (std::string_view good :
       {"", "a", "eight by", "eight bytes and more", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
        "12345678\xC3\xA9", "\xED\x9F\xBF", "\xF4\x8F\xBF\xBF"}) {
    CAPTURE(good);
    CHECK(is_utf8(good));
  }
  for (std::string_view bad :
       {"\x80", "\xC3", "\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80",
        "\xF8\x88\x80\x80\x80", "\xFF", "12345678\xFF", "\xE2\x82", "\xF0\x9F\x98", "\xC3\x28"}) {
    CAPTURE(to_hex(bad));
    CHECK_FALSE(is_utf8(bad));
  }
}

TEST_CASE("what is not UTF-8 is replaced byte by byte and the rest stays") {
  CHECK(to_utf8("plain") == "plain");
  CHECK(to_utf8("a\xFFz") == "a\xEF\xBF\xBDz");
  CHECK(to_utf8("\xC3") == "\xEF\xBF\xBD");
  CHECK(is_utf8(to_utf8("\xED\xA0\x80\xF0\x9F\x98")));
}

TEST_CASE("the nearest candidate is offered only when it is near") {
  constexpr std::array<std::string_view, 3> keys{"endpoints", "listen", "directory"};

  CHECK(nearest("endpoint", keys) == "endpoints");
  CHECK(nearest("lisen", keys) == "listen");
  CHECK(nearest("zzzzz", keys).empty());
  CHECK(nearest("pub", std::array<std::string_view, 2>{"bus", "publishers"}) == "publishers");
}

TEST_CASE("the keyed hash depends on every byte, the length and the key") {
  std::set<uint64_t> seen;
  std::string text;
  for (int length = 0; length < 70; ++length) {
    seen.insert(keyed_hash(text, 1));
    seen.insert(keyed_hash(text, 2));
    for (size_t i = 0; i < text.size(); ++i) {
      std::string other = text;
      other[i] ^= 1;
      seen.insert(keyed_hash(other, 1));
    }
    text += '\0';
  }
  CHECK(seen.size() == 70 * 2 + 69 * 70 / 2);
}

TEST_CASE("a glob describes all of a text") {
  for (std::string_view text : {"rl_step_total", "rl_", "rl_step"})
    CHECK(matches_glob("rl_*", text));
  CHECK(matches_glob("*", ""));
  CHECK(matches_glob("", ""));
  CHECK(matches_glob("a?c", "abc"));
  CHECK(matches_glob("*step*total", "rl_step_step_total"));
  CHECK(matches_glob("[x]", "[x]"));
  CHECK_FALSE(matches_glob("rl_*", "xrl_step"));
  CHECK_FALSE(matches_glob("rl", "rl_step"));
  CHECK_FALSE(matches_glob("a?c", "ac"));
  CHECK_FALSE(matches_glob("*total", "rl_totals"));
  CHECK_FALSE(matches_glob("?", ""));
}

TEST_CASE("sizes and durations are read with their unit and written back") {
  uint64_t value = 0;
  CHECK(parse_size("64MiB", value));
  CHECK(value == 64u << 20);
  CHECK(parse_size("1.5 KiB", value));
  CHECK(value == 1536);
  CHECK(format_size(value) == "1536B");
  CHECK(format_size(64u << 20) == "64MiB");
  CHECK(parse_duration("250ms", value));
  CHECK(value == 250'000'000);
  CHECK(format_duration(value) == "250ms");
  CHECK(parse_duration("10m", value));
  CHECK(format_duration(value) == "10m");
  CHECK(format_duration(0) == "0s");
  for (std::string_view bad : {"", "5", "5 minutes", "-1s", "nan s", "s", "1e30h", "5S", "infs"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_duration(bad, value));
  }
  for (std::string_view bad : {"", "5", "5MB", "-1KiB", "MiB", "99999999999GiB"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_size(bad, value));
  }
}

TEST_CASE("a part of a query is what it was after it was encoded, and what is no escape stays") {
  const std::string any("a b&c=d%+\xFF\0/\"", 13);
  CHECK(percent_encoded(any) == "a%20b%26c%3dd%25%2b%ff%00%2f%22");
  CHECK(percent_decoded(percent_encoded(any)) == any);
  CHECK(percent_encoded("rl_x-1.y~") == "rl_x-1.y~");
  CHECK(percent_decoded("%4A%4a%") == "JJ%");
  CHECK(percent_decoded("%4") == "%4");
  CHECK(percent_decoded("%zz+") == "%zz+");
}
