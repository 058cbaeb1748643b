// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace insight::cli {

enum class Colour { none, green, yellow, red, bold };

/// Where a command writes.  Thread-bound.
class Terminal {
 public:
  /// Standard output: colours and the width only when it is a terminal, no colours with NO_COLOR.
  static Terminal standard_output();

  Terminal(bool has_colour, size_t width) : has_colour_(has_colour), width_(width) {}

  /// 0: no limit, because nobody looks at it through a window.
  size_t width() const noexcept { return width_; }

  std::string paint(Colour colour, std::string_view text) const;

  /// Adds a line that says something: one that is too wide for the window is broken between words.
  void line(std::string_view text);

  /// Adds a line of a table or a stream: one that is too wide is cut.
  void row(std::string_view text);

  /// Adds text as it is.
  void raw(std::string_view text) { text_ += text; }

  const std::string& text() const noexcept { return text_; }

  /// Writes everything.  False when it could not be written; a reader that has gone away is fine.
  bool flush();

 private:
  bool has_colour_;
  size_t width_;
  std::string text_;
};

/// Writes "insightctl: <sentence>" to standard error.
void complain(const std::string& sentence);

/// Text of strangers without bytes that steer a terminal.
std::string printable(std::string_view text);

/// Columns a text takes, colours not counted.
size_t columns(std::string_view text);

/// `line` broken between words into lines of at most `width` columns (0: not at all), all but the
/// first indented.  A word that is too wide stays whole.
std::string wrapped(std::string_view line, size_t width, size_t indent);

/// "1,234,567".
std::string grouped(uint64_t n);

/// Rows below a header, columns aligned.  Cells of a column that is `is_number` stand right.
struct Table {
  struct Column {
    std::string_view title;
    bool is_number = false;
  };

  std::vector<Column> head;
  std::vector<std::vector<std::string>> rows;

  void print(Terminal& out) const;
};

}  // namespace insight::cli
