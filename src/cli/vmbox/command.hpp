// What vmbox's commands share: how one is added, the options that several have, how results are told.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/vmbox/command_line.hpp"
#include "qimg/vm.hpp"

namespace qimg::vmbox {

// What a command does once its line was read; returns the exit status.
using Action = std::function<int()>;

Action add_up(CommandLine& line);
Action add_xml(CommandLine& line);
Action add_ls(CommandLine& line);
Action add_console(CommandLine& line);
Action add_log(CommandLine& line);
Action add_stop(CommandLine& line);
Action add_reset(CommandLine& line);
Action add_rm(CommandLine& line);

// --connect and --dir.
void add_place(CommandLine& line, vm::Place& place);
// The sandbox's name as the operand.
void add_name(CommandLine& line, std::string& name);
// --until, --no-wait, --timeout, --accel.
void add_wait(CommandLine& line, vm::WaitOptions& wait);
// --timeout alone.
void add_timeout(CommandLine& line, const char* what, unsigned smallest, std::chrono::seconds& timeout);

// What the options say that describe a new sandbox, as they were written.
struct NewSandboxArguments {
    vm::NewSandbox sandbox;
    std::vector<std::string> user_data;
    std::string network_config;
    std::vector<std::string> ssh_keys;
    std::string first_given;  // one of these options, for a message when --image is missing
};
void add_new_sandbox(CommandLine& line, NewSandboxArguments& arguments);
// Reads the files that the arguments name. nullopt without --image.
Result<std::optional<vm::NewSandbox>> read_new_sandbox(NewSandboxArguments& arguments);

// "vmbox: MESSAGE" on stderr; returns the exit status 1.
int print_error(const Error& error);

// The one line with which `up` and `reset` end.
void print_report(const std::string& name, const vm::UpReport& report);

// Tells stages and warnings on stderr; on a terminal also what the guest prints while one waits. Signals that
// ask to stop make it cancel; a second one ends the program.
class Terminal final : public vm::Observer {
  public:
    explicit Terminal(std::string name);
    ~Terminal() override;
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;

    void stage(vm::Stage reached, const std::string& detail) override;
    void warning(const std::string& message) override;
    void waiting(std::chrono::milliseconds since_start, const std::string& last_line) override;
    void console_tail(const std::vector<std::string>& lines) override;
    bool cancelled() const override;

  private:
    void clear_line();

    std::string name_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
    bool draws_;
    bool drawn_ = false;
};

}  // namespace qimg::vmbox
