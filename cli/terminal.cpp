// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>

#include <sys/ioctl.h>
#include <unistd.h>

#include "bus/base/text.hpp"

namespace insight::cli {

namespace {

constexpr size_t kLeastWidth = 20;
constexpr std::string_view kReset = "\x1b[0m";

std::string_view code(Colour colour) {
  switch (colour) {
    case Colour::none:
      return "";
    case Colour::green:
      return "\x1b[32m";
    case Colour::yellow:
      return "\x1b[33m";
    case Colour::red:
      return "\x1b[31m";
    case Colour::bold:
      return "\x1b[1m";
  }
  return "";
}

size_t window_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* text = std::getenv("COLUMNS");
  return text != nullptr ? std::strtoul(text, nullptr, 10) : 0;
}

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

bool in_range(const std::string& text, size_t at, unsigned char first, unsigned char last) {
  if (at >= text.size()) return false;
  const auto c = static_cast<unsigned char>(text[at]);
  return c >= first && c <= last;
}

/// The bytes of an escape sequence at the start of `text`, 0 when there is none.
size_t escape_size(std::string_view text) {
  if (!text.starts_with("\x1b[")) return 0;
  const size_t end = text.find('m');
  return end == std::string_view::npos ? text.size() : end + 1;
}

/// `text` cut to so many columns, with an ellipsis where something is left out.
std::string cut(std::string_view text, size_t width) {
  if (width == 0 || columns(text) <= width) return std::string(text);
  std::string out;
  bool has_colour = false;
  size_t taken = 0;
  for (size_t i = 0; i < text.size() && (taken + 1 < width || is_continuation(text[i]));) {
    if (const size_t n = escape_size(text.substr(i)); n > 0) {
      out += text.substr(i, n);
      has_colour = true;
      i += n;
      continue;
    }
    if (!is_continuation(text[i])) ++taken;
    out += text[i++];
  }
  out += "\u2026";
  if (has_colour) out += kReset;
  return out;
}

}  // namespace

Terminal Terminal::standard_output() {
  if (isatty(STDOUT_FILENO) == 0) return {false, 0};
  const char* no_colour = std::getenv("NO_COLOR");
  const char* kind = std::getenv("TERM");
  const bool is_dumb = kind != nullptr && std::string_view(kind) == "dumb";
  const size_t width = window_width();
  return {(no_colour == nullptr || *no_colour == '\0') && !is_dumb,
          width == 0 ? 0 : std::max(width, kLeastWidth)};
}

std::string Terminal::paint(Colour colour, std::string_view text) const {
  if (!has_colour_ || colour == Colour::none) return std::string(text);
  return std::string(code(colour)) + std::string(text) + std::string(kReset);
}

void Terminal::line(std::string_view text) {
  while (text.ends_with(' ')) text.remove_suffix(1);
  const size_t begin = text.find_first_not_of(' ');
  text_ += wrapped(text, width_, begin == std::string_view::npos ? 0 : begin + 2);
  text_ += '\n';
}

void Terminal::row(std::string_view text) {
  while (text.ends_with(' ')) text.remove_suffix(1);
  text_ += cut(text, width_);
  text_ += '\n';
}

bool Terminal::flush() {
  std::string_view rest = text_;
  while (!rest.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EPIPE;
    rest.remove_prefix(static_cast<size_t>(n));
  }
  text_.clear();
  return true;
}

std::string printable(std::string_view text) {
  std::string out = to_utf8(text);
  for (size_t i = 0; i < out.size(); ++i) {
    const auto c = static_cast<unsigned char>(out[i]);
    if (c < 0x20 || c == 0x7F) out[i] = '?';
    // U+0080 to U+009F steer some terminals, too.
    if (c == 0xC2 && i + 1 < out.size() && static_cast<unsigned char>(out[i + 1]) < 0xA0) {
      out.replace(i, 2, "?");
    }
    // Marks that turn the direction of what follows: U+202A to U+202E, U+2066 to U+2069.
    if (std::string_view(out).substr(i, 2) == "\xE2\x80" && in_range(out, i + 2, 0xAA, 0xAE)) {
      out.replace(i, 3, "?");
    }
    if (std::string_view(out).substr(i, 2) == "\xE2\x81" && in_range(out, i + 2, 0xA6, 0xA9)) {
      out.replace(i, 3, "?");
    }
  }
  return out;
}

std::string wrapped(std::string_view line, size_t width, size_t indent) {
  std::string out;
  for (size_t taken = 0; width > 0 && columns(line) + taken > width; taken = indent) {
    const size_t word = std::min(line.find_first_not_of(' '), line.size());
    size_t space = line.rfind(' ', width - std::min(taken, width));
    if (space == std::string_view::npos || space < word) space = line.find(' ', word);
    if (space == std::string_view::npos) break;
    out += std::string(line.substr(0, space)) + "\n" + std::string(indent, ' ');
    line.remove_prefix(space + 1);
  }
  return out + std::string(line);
}

size_t columns(std::string_view text) {
  size_t count = 0;
  for (size_t i = 0; i < text.size();) {
    if (const size_t n = escape_size(text.substr(i)); n > 0) {
      i += n;
      continue;
    }
    if (!is_continuation(text[i++])) ++count;
  }
  return count;
}

std::string grouped(uint64_t n) {
  std::string out = std::to_string(n);
  for (size_t at = out.size(); at > 3; at -= 3) out.insert(at - 3, ",");
  return out;
}

void Table::print(Terminal& out) const {
  std::vector<size_t> widths;
  for (const Column& column : head) widths.push_back(columns(column.title));
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], columns(row[i]));
  }
  const auto print_row = [&](const auto& cell) {
    std::string text;
    for (size_t i = 0; i < head.size(); ++i) {
      const std::string content = cell(i);
      const std::string pad(widths[i] - columns(content), ' ');
      text += (i == 0 ? "" : "  ") + (head[i].is_number ? pad + content : content + pad);
    }
    out.row(text);
  };
  print_row([&](size_t i) { return out.paint(Colour::bold, head[i].title); });
  for (const auto& row : rows) {
    print_row([&](size_t i) { return i < row.size() ? row[i] : std::string(); });
  }
}

void complain(const std::string& sentence) {
  (void)std::fprintf(stderr, "insightctl: %s\n", printable(sentence).c_str());
}

}  // namespace insight::cli
