// vmbox's command line: commands with options and operands, and what is printed about wrong ones. Stands
// before CLI11, whose header costs more to compile than everything else in a file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "qimg/error.hpp"

namespace CLI {
class App;
}

namespace qimg::vmbox {

// How an option looks in --help and on the line: "--memory", "SIZE", "Memory of the guest".
struct OptionText {
    const char* name;
    const char* type;
    const char* what;
    bool repeatable = false;
    const char* environment = nullptr;  // a variable that stands for the option when it is not given
};

// The options of one command. What is bound to must live until the command has run.
class CommandLine {
  public:
    // Takes the option's text; an error's message is printed behind the option's name.
    using Take = std::function<Result<void>(const std::string& text)>;

    explicit CommandLine(CLI::App& app) : app_(&app) {}

    void operand(const char* name, const char* what, std::string& value);
    void operands(const char* name, const char* what, std::vector<std::string>& values);
    void option(const OptionText& text, Take take);
    void flag(const char* name, const char* what, std::function<void()> set);
    // Lines for the end of --help.
    void examples(const std::string& lines);

  private:
    CLI::App* app_;
};

// Puts the text of an option into `value`.
CommandLine::Take store(std::string& value);
// Parses with one of the library's functions and puts the result into `value`.
template <class Parse, class Value>
CommandLine::Take store_parsed(Parse parse, Value& value) {
    return [parse, &value](const std::string& text) -> Result<void> {
        auto parsed = parse(text);
        if (!parsed) return std::unexpected(parsed.error());
        value = *parsed;
        return {};
    };
}
// A whole number in a range.
CommandLine::Take store_number(unsigned& value, unsigned smallest, unsigned largest);

struct Command {
    const char* name;
    const char* summary;
    // Adds options; returns what to run, with the exit status as its result.
    std::function<int()> (*add)(CommandLine& line);
};

// Parses the line and runs the command on it. The exit status is 1 for a line that is wrong.
int run_program(int argc, char** argv, const std::vector<Command>& commands, const std::string& examples);

}  // namespace qimg::vmbox
