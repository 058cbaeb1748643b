// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"

namespace insight {

/// The bytes of a file.
Result<std::string> read_file(const std::string& path);

enum class Durability : bool {
  process,  ///< survives a kill of the process
  machine,  ///< survives a crash of the machine; waits for the disk
};

/// Puts `bytes` at `path` as a whole or not at all: a temporary file beside it, then a rename.
/// Nothing when it succeeded, else a sentence; the file is then as it was.
std::optional<Error> replace_file(const std::string& path, std::string_view bytes,
                                  Durability durability);

}  // namespace insight
