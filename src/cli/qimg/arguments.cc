// getopt_long behind one class.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/arguments.hpp"

#include <cstdio>

#include "cli/qimg/messages.hpp"

namespace qimg::cli {

namespace {

constexpr OptionSpec help_option{'h', "help", false};

bool is_letter(int key) {
    return key < long_only(0);
}

}  // namespace

Arguments::Arguments(int argc, char** argv, std::span<const OptionSpec> options, const char* help)
    : argc_(argc), argv_(argv), help_(help), letters_(":") {
    const auto add = [this](const OptionSpec& option) {
        if (is_letter(option.key)) {
            letters_ += static_cast<char>(option.key);
            if (option.has_value) letters_ += ':';
        }
        if (option.long_name != nullptr) {
            const int argument = option.has_value ? required_argument : no_argument;
            long_options_.push_back({option.long_name, argument, nullptr, option.key});
        }
    };
    add(help_option);
    for (const OptionSpec& option : options)
        add(option);
    long_options_.push_back({nullptr, 0, nullptr, 0});
    optind = 0;  // glibc: start afresh, the program's own options have been read with the same variables
}

int Arguments::next() {
    const int key = ::getopt_long(argc_, argv_, letters_.c_str(), long_options_.data(), nullptr);
    switch (key) {
        case ':':
            status_ = usage_error(fmt::format("missing argument for option '{}'", argv_[optind - 1]));
            return stop;
        case '?':
            status_ = usage_error(fmt::format("unrecognized option '{}'", argv_[optind - 1]));
            return stop;
        case 'h':
            std::fputs(help_, stdout);
            return stop;
        default:
            return key;
    }
}

std::vector<std::string> Arguments::operands() const {
    return {argv_ + optind, argv_ + argc_};
}

}  // namespace qimg::cli
