// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "cli/man_text.hpp"

namespace insight::cli {

namespace {

int man(const std::string& format, Terminal& out) {
  const Command root = insightctl_command();
  if (format == "json") {
    out.raw(json_reference(root));
  } else {
    out.raw(format == "markdown" ? markdown_reference(root) : man_page(root));
  }
  return kDone;
}

}  // namespace

Command man_command() {
  const auto format = std::make_shared<std::string>("roff");
  return {.name = "man",
          .does = "Prints the manual page, or the same reference in another form",
          .examples = {"insightctl man > insightctl.1", "insightctl man --format json"},
          .arguments = {{.name = "--format",
                         .value = "FORMAT",
                         .does = "roff for man (the default), markdown or json",
                         .target = format.get(),
                         .choices = {"roff", "markdown", "json"}}},
          .run = [format](Terminal& out) { return man(*format, out); }};
}

}  // namespace insight::cli
