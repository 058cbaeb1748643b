// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/command.hpp"

namespace insight::cli {

/// The manual page of a tree of commands, as man reads it.
std::string man_page(const Command& root);

/// The same as a reference in Markdown (cli/REFERENCE.md).
std::string markdown_reference(const Command& root);

/// The tree itself as JSON: for other tools, and for the test that runs every example.
std::string json_reference(const Command& root);

/// "0 done, 1 ...": what every command ends with, in one sentence.
std::string exit_codes_sentence();

}  // namespace insight::cli
