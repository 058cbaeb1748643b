// SPDX-License-Identifier: Apache-2.0
#include "bus/http/negotiate.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

namespace insight {

namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t";
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

bool equal_words(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

/// Takes the part up to `separator` off the front; a separator inside of quotes is none.
std::string_view take_part(std::string_view& text, char separator) {
  bool is_quoted = false;
  size_t at = 0;
  for (; at < text.size() && (is_quoted || text[at] != separator); ++at) {
    if (text[at] == '"') is_quoted = !is_quoted;
    if (text[at] == '\\' && is_quoted) ++at;
  }
  at = std::min(at, text.size());
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return trimmed(part);
}

/// "0.75"; nothing for what is no quality.
std::optional<double> quality_of(std::string_view text) {
  double quality = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] =
      std::from_chars(text.data(), end, quality, std::chars_format::fixed);
  if (error != std::errc{} || stopped != end || !(quality >= 0 && quality <= 1)) return {};
  return quality;
}

/// One element of a list: "text/plain;version=0.0.4;q=0.5".
struct Element {
  std::string_view name;
  std::string_view version;
  double quality = 1;
};

/// Takes the next element off the front; its name is empty when it cannot be understood.
Element take_element(std::string_view& list) {
  std::string_view parts = take_part(list, ',');
  Element out{.name = take_part(parts, ';'), .version = {}};
  while (!parts.empty()) {
    std::string_view value = take_part(parts, ';');
    const std::string_view key = take_part(value, '=');
    value = trimmed(value);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
      value = value.substr(1, value.size() - 2);
    }
    if (equal_words(key, "version")) out.version = value;
    if (!equal_words(key, "q")) continue;
    const std::optional<double> quality = quality_of(value);
    if (!quality) return {};
    out.quality = *quality;
  }
  return out;
}

}  // namespace

Wish wish_for(std::string_view accept, std::string_view type, std::string_view version) {
  if (trimmed(accept).empty()) return {.quality = 1};
  const std::string all_of_kind = std::string(type.substr(0, type.find('/'))) + "/*";

  enum { nothing, anything, kind, name, name_and_version };

  int best = nothing;
  Wish wish;
  while (!accept.empty()) {
    const Element element = take_element(accept);
    int precision = nothing;
    if (element.name == "*/*") precision = anything;
    if (equal_words(element.name, all_of_kind)) precision = kind;
    if (equal_words(element.name, type)) {
      if (element.version.empty()) precision = name;
      if (element.version == version) precision = name_and_version;
    }
    if (precision == nothing || precision < best) continue;
    const double before = precision == best ? wish.quality : 0;
    best = precision;
    wish = {.quality = std::max(before, element.quality), .is_named = precision >= name};
  }
  return wish;
}

bool wants_gzip(std::string_view accept_encoding) {
  std::optional<double> gzip, identity, others;
  while (!accept_encoding.empty()) {
    const Element element = take_element(accept_encoding);
    const bool is_gzip = equal_words(element.name, "gzip") || equal_words(element.name, "x-gzip");
    if (is_gzip) gzip = std::max(gzip.value_or(0), element.quality);
    if (equal_words(element.name, "identity")) identity = element.quality;
    if (element.name == "*") others = element.quality;
  }
  const double wanted = gzip ? *gzip : others.value_or(0);
  return wanted > 0 && wanted >= identity.value_or(0);
}

}  // namespace insight
