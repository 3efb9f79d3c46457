// How far a guest is, told by what it prints on its serial console. Knows text only; who reads the log and
// how long to wait is decided elsewhere.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "qimg/vm.hpp"

namespace qimg::vm {

class ConsoleProgress {
  public:
    // Takes the next piece of the console's output, cut anywhere.
    void feed(std::string_view text);

    // console, kernel, login or cloud_init; started before the first character.
    Stage stage() const;
    bool saw_login() const { return login_; }
    bool saw_cloud_init() const { return cloud_init_; }  // at work or finished
    bool saw_cloud_init_end() const { return cloud_init_end_; }
    // Anything that no kernel prints before its first process runs.
    bool saw_user_space() const { return user_space_ || login_ || cloud_init_ || cloud_init_end_; }
    bool saw_panic() const { return panic_; }
    // The last line with something in it, without control sequences, safe to print.
    const std::string& last_line() const { return last_line_; }
    std::vector<std::string> last_lines(std::size_t count) const;

  private:
    void end_line();
    void look(std::string_view line);

    std::string line_;  // not ended yet, control sequences and all
    std::string last_line_;
    std::vector<std::string> recent_;
    bool output_ = false;
    bool kernel_ = false;
    bool user_space_ = false;
    bool login_ = false;
    bool cloud_init_ = false;
    bool cloud_init_end_ = false;
    bool panic_ = false;
};

// The text that is left when terminal control sequences (ECMA-48) and carriage returns are taken out.
std::string without_control_sequences(std::string_view text);

}  // namespace qimg::vm
