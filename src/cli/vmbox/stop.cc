// vmbox stop: shuts a guest down, and switches it off when it does not listen.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <memory>

#include "cli/vmbox/command.hpp"

namespace qimg::vmbox {

namespace {

int run(const vm::StopOptions& options) {
    std::optional<Terminal> terminal(options.name);
    const auto report = vm::stop(options, *terminal);
    terminal.reset();
    if (!report) return print_error(report.error());
    if (report->was_off) {
        fmt::print("{}: was off already\n", options.name);
    } else if (report->forced && !options.force) {
        fmt::print("{}: did not shut down within {} s and was switched off\n", options.name,
                   options.timeout.count());
    } else {
        fmt::print("{}: {}\n", options.name, report->forced ? "switched off" : "shut down");
    }
    return 0;
}

}  // namespace

Action add_stop(CommandLine& line) {
    const auto options = std::make_shared<vm::StopOptions>();
    add_name(line, options->name);
    line.flag("--force", "Switch it off at once", [options] { options->force = true; });
    add_timeout(line, "How long the guest may take before it is switched off (60)", 0, options->timeout);
    add_place(line, options->place);
    line.examples(
        "  vmbox stop web\n"
        "  vmbox stop --force web");
    return [options] { return run(*options); };
}

}  // namespace qimg::vmbox
