// SPDX-License-Identifier: Apache-2.0
#include "cli/tap_format.hpp"

#include <array>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <utility>

#include "bus/base/clock.hpp"
#include "bus/base/text.hpp"
#include "cli/ask.hpp"
#include "cli/terminal.hpp"

namespace insight::cli {

namespace {

using nlohmann::json;

constexpr std::string_view kDirectives = "tTpinklLvu";

/// A string as it is, nothing for null, and numbers as JSON writes them.
std::string scalar(const json& value) {
  if (value.is_null()) return {};
  return printable(value.is_string() ? value.get<std::string>() : value.dump());
}

uint64_t number(const json& object, const char* key) {
  const json& value = member(object, key);
  return value.is_number_unsigned() ? value.get<uint64_t>() : 0;
}

std::string time_text(uint64_t ns, bool is_utc) {
  const auto at = static_cast<time_t>(ns / kSecond);
  std::tm fields{};
  (void)(is_utc ? gmtime_r(&at, &fields) : localtime_r(&at, &fields));
  std::array<char, 32> text{};
  const size_t n =
      std::strftime(text.data(), text.size(), is_utc ? "%Y-%m-%dT%H:%M:%S" : "%H:%M:%S", &fields);
  const std::string milliseconds = std::to_string(ns % kSecond / kMillisecond + 1000);
  return std::string(text.data(), n) + "." + milliseconds.substr(1) + (is_utc ? "Z" : "");
}

std::string publisher(const json& record) {
  const json& resource = member(record, "resource");
  std::string out;
  for (const char* key : {"service.name", "host.name", "process.pid"}) {
    const std::string part = scalar(member(resource, key));
    if (!part.empty()) out += (out.empty() ? "" : "/") + part;
  }
  return out;
}

bool is_point(const json& record) { return member(record, "type") == "point"; }

const json& details(const json& record) {
  return member(record, is_point(record) ? "labels" : "attributes");
}

std::string pairs(const json& object) {
  std::string out;
  if (!object.is_object()) return out;
  for (const auto& [key, value] : object.items()) {
    out += (out.empty() ? "" : ",") + printable(key) + "=" + scalar(value);
  }
  return out;
}

uint64_t duration_ns(const json& span) {
  const uint64_t start = number(span, "start_ns"), end = number(span, "end_ns");
  return end > start ? end - start : 0;
}

bool has_ended(const json& span) { return member(span, "end_ns").is_number(); }

std::string seconds(uint64_t ns) {
  std::array<char, 32> text{};
  const int n = std::snprintf(text.data(), text.size(), "%llu.%09llu",
                              static_cast<unsigned long long>(ns / kSecond),
                              static_cast<unsigned long long>(ns % kSecond));
  std::string out(text.data(), static_cast<size_t>(n));
  out.erase(out.find_last_not_of('0') + 1);
  if (out.ends_with('.')) out.pop_back();
  return out;
}

/// A number; of a histogram "count=3 sum=0.42"; of a span its seconds, "open" while it goes on.
std::string value(const json& record) {
  if (!is_point(record)) return has_ended(record) ? seconds(duration_ns(record)) : "open";
  const json& of = member(record, "value");
  if (!of.is_object()) return scalar(of);
  return "count=" + scalar(member(of, "count")) + " sum=" + scalar(member(of, "sum"));
}

std::string directive(char which, const json& record) {
  switch (which) {
    case 't':
      return time_text(number(record, "ts_ns"), true);
    case 'T':
      return std::to_string(number(record, "ts_ns"));
    case 'p':
      return publisher(record);
    case 'i':
      return scalar(member(record, "inc"));
    case 'n':
      return scalar(member(record, "name"));
    case 'k':
      return scalar(member(record, is_point(record) ? "kind" : "type"));
    case 'l':
      return pairs(details(record));
    case 'L':
      return scalar(member(record, "lane"));
    case 'v':
      return value(record);
    default:
      return scalar(member(record, "unit"));
  }
}

/// Three digits are enough for a person.
std::string short_duration(uint64_t ns) {
  uint64_t unit = 1;
  while (ns / unit >= 1'000) unit *= 10;
  return format_duration(ns / unit * unit);
}

char escaped(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 't':
      return '\t';
    default:
      return c == '\\' ? c : '\0';
  }
}

}  // namespace

Result<TapTemplate> TapTemplate::parse(std::string_view text) {
  TapTemplate out;
  std::string plain;
  const auto add = [&](Part part) {
    if (!plain.empty()) out.parts_.push_back({0, std::exchange(plain, {})});
    out.parts_.push_back(std::move(part));
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (text[i] == '\\' && escaped(next) != '\0') {
      plain += escaped(next);
      ++i;
    } else if (text[i] != '%') {
      plain += text[i];
    } else if (next == '%') {
      plain += text[++i];
    } else if (next == '{') {
      const size_t end = text.find('}', i);
      if (end == std::string_view::npos) return Error{"\"%{\" without \"}\""};
      add({'{', std::string(text.substr(i + 2, end - i - 2))});
      i = end;
    } else if (next != '\0' && kDirectives.find(next) != std::string_view::npos) {
      add({next, {}});
      ++i;
    } else {
      return Error{"there is no \"%" + std::string(text.substr(i + 1, 1)) +
                   "\"; known: %t %T %p %i %n %k %l %L %v %u %{key} %%"};
    }
  }
  if (!plain.empty()) out.parts_.push_back({0, plain});
  return out;
}

std::string TapTemplate::format(const json& record) const {
  std::string out;
  for (const Part& part : parts_) {
    if (part.directive == 0) {
      out += part.text;
    } else if (part.directive == '{') {
      const json& own = member(details(record), part.text.c_str());
      out += scalar(own.is_null() ? member(member(record, "resource"), part.text.c_str()) : own);
    } else {
      out += directive(part.directive, record);
    }
  }
  return out;
}

std::string readable_line(const json& record) {
  // What matters most first: a narrow window cuts the rest off.
  std::string out =
      time_text(number(record, "ts_ns"), false) + "  " + scalar(member(record, "name")) + "  ";
  const std::string labels = pairs(details(record));
  if (is_point(record)) {
    out += value(record);
    const std::string unit = scalar(member(record, "unit"));
    if (!unit.empty()) out += " " + unit;
    if (!labels.empty()) out += "  {" + labels + "}";
    return out + "  " + publisher(record);
  }
  const std::string what = scalar(member(record, "type"));
  if (what != "span") out += what + " ";
  out += has_ended(record) ? short_duration(duration_ns(record)) : "open";
  if (member(record, "status") == "error") out += "  error";
  const std::string lane = scalar(member(record, "lane"));
  if (!lane.empty()) out += "  " + lane;
  if (!labels.empty()) out += "  {" + labels + "}";
  return out + "  " + publisher(record);
}

}  // namespace insight::cli
