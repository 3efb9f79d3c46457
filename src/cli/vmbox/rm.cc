// vmbox rm: removes sandboxes, running or not.
// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "cli/vmbox/command.hpp"

namespace qimg::vmbox {

namespace {

struct Arguments {
    std::vector<std::string> names;
    vm::RemoveOptions options;
};

// A sandbox that cannot be removed does not keep the others.
int run(Arguments& arguments) {
    int status = 0;
    for (const std::string& name : arguments.names) {
        std::optional<Terminal> terminal(name);
        arguments.options.name = name;
        const auto removed = vm::remove(arguments.options, *terminal);
        terminal.reset();
        if (!removed) status = print_error(removed.error());
    }
    return status;
}

}  // namespace

Action add_rm(CommandLine& line) {
    const auto arguments = std::make_shared<Arguments>();
    line.operands("NAME", "The sandboxes", arguments->names);
    line.flag("--force", "Also when a folder holds files that vmbox did not make",
              [arguments] { arguments->options.force = true; });
    add_place(line, arguments->options.place);
    line.examples("  vmbox rm web db");
    return [arguments] { return run(*arguments); };
}

}  // namespace qimg::vmbox
