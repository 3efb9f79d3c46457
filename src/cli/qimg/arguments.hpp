// A command's line: options in getopt_long's manner (abbreviations, any order, "--"), then operands.
//
// Knows how a wrong line is told about; what the options mean is the command's business.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <getopt.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qimg::cli {

// `key` is the option's letter, or one of long_only() for an option without a letter.
struct OptionSpec {
    int key = 0;
    const char* long_name = nullptr;  // null: only the letter
    bool has_value = false;
};
constexpr int long_only(int number) {
    return 256 + number;
}

class Arguments {
  public:
    // Every command also gets -h and --help, which print `help` on stdout.
    Arguments(int argc, char** argv, std::span<const OptionSpec> options, const char* help);

    static constexpr int end = -1;   // no more options
    static constexpr int stop = -2;  // the command is over: return status()
    // The next option's key, or one of the above.
    int next();
    int status() const { return status_; }
    // The value of the option that next() returned.
    const char* value() const { return optarg; }
    // What is left once next() has returned `end`.
    std::vector<std::string> operands() const;

  private:
    int argc_;
    char** argv_;
    const char* help_;
    std::string letters_;
    std::vector<::option> long_options_;
    int status_ = 0;
};

}  // namespace qimg::cli
