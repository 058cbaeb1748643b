// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "bus/broker/config.hpp"

namespace insight {

/// A checked configuration as a TOML file with every value in it, defaults too.  Read again it
/// means the same, and is printed the same, here and on any other day.
///
/// Secrets are not shown: a string that took an environment variable with a name like TOKEN or
/// PASSWORD is shown as it stood in the file, `${TOKEN}`; the password of a URL and the value of
/// a key with such a name become `***`, which the first line then says.
std::string print_config(const Config& config);

/// `text` as a TOML string, with its quotes.
std::string toml_quoted(std::string_view text);

}  // namespace insight
