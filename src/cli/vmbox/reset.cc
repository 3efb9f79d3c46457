// vmbox reset: back to the base image in one command.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <memory>

#include "cli/vmbox/command.hpp"

namespace qimg::vmbox {

namespace {

int run(const vm::ResetOptions& options) {
    std::optional<Terminal> terminal(options.name);
    const auto report = vm::reset(options, *terminal);
    terminal.reset();
    if (!report) return print_error(report.error());
    if (options.start) {
        print_report(options.name, *report);
    } else {
        fmt::print("{}: has a fresh disk and is off; 'vmbox up {}' starts it\n", options.name, options.name);
    }
    return report->interrupted ? 1 : 0;
}

}  // namespace

Action add_reset(CommandLine& line) {
    const auto options = std::make_shared<vm::ResetOptions>();
    add_name(line, options->name);
    line.flag("--no-start", "Leave it off", [options] { options->start = false; });
    add_wait(line, options->wait);
    add_place(line, options->place);
    line.examples(
        "  vmbox reset web\n"
        "  vmbox reset --no-start web");
    return [options] { return run(*options); };
}

}  // namespace qimg::vmbox
