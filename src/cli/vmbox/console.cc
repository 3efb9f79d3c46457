// vmbox console: the guest's serial console in this terminal.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>
#include <unistd.h>

#include <memory>

#include "cli/vmbox/command.hpp"

namespace qimg::vmbox {

namespace {

int run(const vm::ConsoleOptions& options) {
    Terminal terminal(options.name);
    const bool interactive = ::isatty(options.input) == 1;
    if (interactive)
        fmt::print(stderr, "{}: connected; Ctrl-] leaves, Enter may bring the prompt\n", options.name);
    const auto done = vm::console(options, terminal);
    if (interactive) fmt::print(stderr, "\n");
    return done ? 0 : print_error(done.error());
}

}  // namespace

Action add_console(CommandLine& line) {
    const auto options = std::make_shared<vm::ConsoleOptions>();
    add_name(line, options->name);
    line.flag("--force", "Take the console from somebody else who is connected",
              [options] { options->force = true; });
    add_place(line, options->place);
    line.examples(
        "  vmbox console web\n"
        "  printf 'poweroff\\n' | vmbox console web   until the guest is off");
    return [options] { return run(*options); };
}

}  // namespace qimg::vmbox
