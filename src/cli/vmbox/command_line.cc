// The one file that knows CLI11.
// SPDX-License-Identifier: Apache-2.0
#include "cli/vmbox/command_line.hpp"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

namespace qimg::vmbox {

namespace {

// One line, with the way to the options.
std::string usage_error(const CLI::App* app, const CLI::Error& error) {
    std::string command = "vmbox";
    for (const CLI::App* used : app->get_subcommands())
        command += " " + used->get_name();
    return fmt::format("vmbox: {} (see {} --help)\n", error.what(), command);
}

}  // namespace

void CommandLine::operand(const char* name, const char* what, std::string& value) {
    app_->add_option(name, value, what)->required()->type_name("");
}

void CommandLine::operands(const char* name, const char* what, std::vector<std::string>& values) {
    app_->add_option(name, values, what)->required()->type_name("");
}

void CommandLine::option(const OptionText& text, Take take) {
    const std::string name = text.name;
    // CLI11 reports a wrong value only by its own exception
    const auto take_all = [name, take = std::move(take)](const std::vector<std::string>& values) {
        for (const std::string& value : values) {
            const auto taken = take(value);
            if (!taken) throw CLI::ValidationError(name, taken.error().message);
        }
    };
    CLI::Option* option = app_->add_option_function<std::vector<std::string>>(name, take_all, text.what);
    option->type_name(text.type)->type_size(1)->allow_extra_args(false);
    option->expected(1);
    option->multi_option_policy(text.repeatable ? CLI::MultiOptionPolicy::TakeAll
                                                : CLI::MultiOptionPolicy::Throw);
    if (text.environment) option->envname(text.environment);
}

void CommandLine::flag(const char* name, const char* what, std::function<void()> set) {
    app_->add_flag_function(
        name, [set = std::move(set)](std::int64_t) { set(); }, what);
}

void CommandLine::examples(const std::string& lines) {
    app_->footer("Examples:\n" + lines);
}

CommandLine::Take store(std::string& value) {
    return [&value](const std::string& text) -> Result<void> {
        value = text;
        return {};
    };
}

CommandLine::Take store_number(unsigned& value, unsigned smallest, unsigned largest) {
    return [&value, smallest, largest](const std::string& text) -> Result<void> {
        const bool digits =
            !text.empty() && text.size() <= 9 && text.find_first_not_of("0123456789") == std::string::npos;
        const unsigned long number = digits ? std::stoul(text) : 0;
        if (!digits || number < smallest || number > largest) {
            return fail(ErrorKind::invalid_argument,
                        fmt::format("'{}' is no number from {} to {}", text, smallest, largest));
        }
        value = static_cast<unsigned>(number);
        return {};
    };
}

int run_program(int argc, char** argv, const std::vector<Command>& commands, const std::string& examples) {
    CLI::App app("Throw-away virtual machines: from a base image to a login prompt, and back to clean.",
                 "vmbox");
    app.set_version_flag("--version", "vmbox " VMBOX_VERSION);
    app.require_subcommand(1);
    app.failure_message(usage_error);
    app.footer("Examples:\n" + examples);
    std::vector<std::pair<const CLI::App*, std::function<int()>>> actions;
    for (const Command& command : commands) {
        CLI::App* added = app.add_subcommand(command.name, command.summary);
        CommandLine line(*added);
        actions.emplace_back(added, command.add(line));
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 1;
    }
    for (const auto& [command, action] : actions) {
        if (command->parsed()) return action();
    }
    return 1;
}

}  // namespace qimg::vmbox
