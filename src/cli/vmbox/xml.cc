// vmbox xml: the libvirt domain of a sandbox, or of one that `up` would make.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

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
    const auto xml = arguments.options.create
                         ? vm::planned_xml(arguments.options)
                         : vm::sandbox_xml(arguments.options.name, arguments.options.place);
    if (!xml) return print_error(xml.error());
    fmt::print("{}", *xml);
    return 0;
}

}  // namespace

Action add_xml(CommandLine& line) {
    const auto arguments = std::make_shared<Arguments>();
    add_name(line, arguments->options.name);
    add_new_sandbox(line, arguments->create);
    add_wait(line, arguments->options.wait);
    add_place(line, arguments->options.place);
    line.examples(
        "  vmbox xml web                              the domain it was last started with\n"
        "  vmbox xml web --image base.qcow2 --cpus 4  what `up` would start; connects to nothing");
    return [arguments] { return run(*arguments); };
}

}  // namespace qimg::vmbox
