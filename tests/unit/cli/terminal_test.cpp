// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.hpp"

#include <doctest/doctest.h>

namespace insight::cli {

TEST_CASE("a table aligns text left and numbers right, colours not counted") {
  Terminal out(true, 0);
  Table table{{{"NAME"}, {"N", true}, {"LAST"}},
              {{out.paint(Colour::green, "up"), "1", "x"}, {"gr\u00F6\u00DFe", "1,000", ""}}};

  table.print(out);

  CHECK(out.text() ==
        "\x1b[1mNAME\x1b[0m       \x1b[1mN\x1b[0m  \x1b[1mLAST\x1b[0m\n"
        "\x1b[32mup\x1b[0m         1  x\n"
        "gr\u00F6\u00DFe  1,000\n");
}

TEST_CASE("a line is broken between words, and nothing of it is lost") {
  Terminal out(true, 20);

  out.line("1234 67890 234567890");
  out.line("1234 67890 2345678901");
  out.line("  sink: /a/path/that/is/too/long: No space left");
  out.line(out.paint(Colour::red, "problem: the disk is full"));

  CHECK(out.text() ==
        "1234 67890 234567890\n"
        "1234 67890\n  2345678901\n"
        "  sink:\n    /a/path/that/is/too/long:\n    No space left\n"
        "\x1b[31mproblem: the\n  disk is full\x1b[0m\n");
}

TEST_CASE("a row is cut to the window, and its colour ends with it") {
  Terminal out(true, 20);

  out.row("12345678901234567890");
  out.row("123456789012345678901");
  out.row(out.paint(Colour::red, "123456789012345678901"));
  out.row("\u00E4\u00E4\u00E4\u00E4\u00E4\u00E4\u00E4\u00E4\u00E4\u00E4\u00E4");

  CHECK(out.text() ==
        "12345678901234567890\n"
        "1234567890123456789\u2026\n"
        "\x1b[31m1234567890123456789\u2026\x1b[0m\n"
        "\u00E4\u00E4\u00E4\u00E4\u00E4\u00E4\u00E4\u00E4\u00E4\u00E4\u00E4\n");
}

TEST_CASE("without a window nothing is cut, and without colours none are written") {
  Terminal out(false, 0);
  const std::string text(5'000, 'x');

  out.line(out.paint(Colour::bold, text));

  CHECK(out.text() == text + "\n");
}

TEST_CASE("bytes that steer a terminal or are no text are shown as something harmless") {
  CHECK(printable("plain gr\u00F6\u00DFe") == "plain gr\u00F6\u00DFe");
  CHECK(printable("a\x1b[2Jb\r\n\tc\x7f") == "a?[2Jb???c?");
  CHECK(printable("\u009B31m") == "?31m");
  CHECK(printable("\xff") == "\uFFFD");
  CHECK(printable("\u202Eevil\u2066") == "?evil?");
}

TEST_CASE("numbers are grouped by thousands") {
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(1'000) == "1,000");
  CHECK(grouped(18'446'744'073'709'551'615ULL) == "18,446,744,073,709,551,615");
}

}  // namespace insight::cli
