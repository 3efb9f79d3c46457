// vmbox log: what the guest printed on its serial console.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include <memory>

#include "cli/vmbox/command.hpp"

namespace qimg::vmbox {

namespace {

struct Arguments {
    std::string name;
    vm::Place place;
};

int run(const Arguments& arguments) {
    const auto text = vm::console_log(arguments.name, arguments.place);
    if (!text) return print_error(text.error());
    return std::fwrite(text->data(), 1, text->size(), stdout) == text->size() ? 0 : 1;
}

}  // namespace

Action add_log(CommandLine& line) {
    const auto arguments = std::make_shared<Arguments>();
    add_name(line, arguments->name);
    add_place(line, arguments->place);
    line.examples("  vmbox log web | tail");
    return [arguments] { return run(*arguments); };
}

}  // namespace qimg::vmbox
