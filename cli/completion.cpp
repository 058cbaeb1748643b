// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include "cli/commands.hpp"
#include "cli/completion_text.hpp"
#include "cli/exit_code.hpp"

namespace insight::cli {

namespace {

int completion(const std::string& shell, Terminal& out) {
  const Command root = insightctl_command();
  out.raw(shell == "bash"  ? bash_completion(root)
          : shell == "zsh" ? zsh_completion(root)
                           : fish_completion(root));
  return kDone;
}

}  // namespace

Command completion_command() {
  const auto shell = std::make_shared<std::string>();
  return {
      .name = "completion",
      .does = "Prints the script that makes a shell complete commands, options, choices and files",
      .examples = {"source <(insightctl completion bash)",
                   "insightctl completion zsh > _insightctl",
                   "insightctl completion fish > insightctl.fish"},
      .arguments = {{.name = "shell",
                     .value = "SHELL",
                     .does = "for which shell",
                     .target = shell.get(),
                     .is_required = true,
                     .choices = {"bash", "zsh", "fish"}}},
      .run = [shell](Terminal& out) { return completion(*shell, out); }};
}

}  // namespace insight::cli
