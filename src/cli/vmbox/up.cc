// vmbox up: from a base image to a login prompt.
// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "cli/vmbox/command.hpp"

namespace qimg::vmbox {

namespace {

struct Arguments {
    vm::UpOptions options;
    NewSandboxArguments create;
};

int run(Arguments& arguments) {
    auto create = read_new_sandbox(arguments.create);
    if (!create) return print_error(create.error());
    arguments.options.create = std::move(*create);
    std::optional<Terminal> terminal(arguments.options.name);
    const auto report = vm::up(arguments.options, *terminal);
    terminal.reset();
    if (!report) return print_error(report.error());
    print_report(arguments.options.name, *report);
    return report->interrupted ? 1 : 0;
}

}  // namespace

Action add_up(CommandLine& line) {
    const auto arguments = std::make_shared<Arguments>();
    add_name(line, arguments->options.name);
    add_new_sandbox(line, arguments->create);
    add_wait(line, arguments->options.wait);
    add_place(line, arguments->options.place);
    line.examples(
        "  vmbox up web --image debian-12.qcow2 --disk +20G --password secret\n"
        "  vmbox up web --image base.qcow2 --ssh-key ~/.ssh/id_ed25519.pub --forward 2222:22\n"
        "  vmbox up web                          start it again after it was stopped");
    return [arguments] { return run(*arguments); };
}

}  // namespace qimg::vmbox
