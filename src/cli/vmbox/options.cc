// The options that several commands have.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <map>

#include "cli/vmbox/command.hpp"

namespace qimg::vmbox {

namespace {

template <class Value>
CommandLine::Take store_choice(Value& value, std::map<std::string, Value> choices) {
    return [&value, choices = std::move(choices)](const std::string& text) -> Result<void> {
        const auto found = choices.find(text);
        if (found != choices.end()) {
            value = found->second;
            return {};
        }
        std::string known;
        for (const auto& [choice, ignored] : choices)
            known += (known.empty() ? "" : ", ") + choice;
        return fail(ErrorKind::invalid_argument, fmt::format("'{}' is none of {}", text, known));
    };
}

CommandLine::Take append(std::vector<std::string>& list) {
    return [&list](const std::string& text) -> Result<void> {
        list.push_back(text);
        return {};
    };
}

// Notes that an option was given that describes a new sandbox.
CommandLine::Take noting(NewSandboxArguments& arguments, const char* name, CommandLine::Take take) {
    return [&arguments, name, take = std::move(take)](const std::string& text) {
        arguments.first_given = name;
        return take(text);
    };
}

void add_machine(CommandLine& line, NewSandboxArguments& arguments) {
    vm::Machine& machine = arguments.sandbox.machine;
    const auto add = [&](const OptionText& text, CommandLine::Take take) {
        line.option(text, noting(arguments, text.name, std::move(take)));
    };
    add({.name = "--memory", .type = "SIZE", .what = "Memory of the guest (1G)"},
        store_parsed(parse_size, machine.memory_bytes));
    add({.name = "--cpus", .type = "N", .what = "Processors of the guest (2)"},
        store_number(machine.cpus, 1, 1024));
    add({.name = "--network",
         .type = "NETWORK",
         .what = "\"user\", \"none\" or a libvirt network (default: the network \"default\" under a system "
                 "connection when it is active, otherwise \"user\")"},
        store(machine.network));
    add({.name = "--forward",
         .type = "HOST:GUEST",
         .what = "Lead 127.0.0.1:HOST to the guest's TCP port GUEST (repeatable)",
         .repeatable = true},
        [&machine](const std::string& text) -> Result<void> {
            const auto forward = vm::parse_forward(text);
            if (!forward) return std::unexpected(forward.error());
            machine.forwards.push_back(*forward);
            return {};
        });
    add({.name = "--seed-bus", .type = "BUS", .what = "How the seed is attached: virtio (default) or scsi"},
        store_choice<vm::SeedBus>(machine.seed_bus,
                                  {{"virtio", vm::SeedBus::virtio}, {"scsi", vm::SeedBus::scsi}}));
}

void add_seed(CommandLine& line, NewSandboxArguments& arguments) {
    SeedOptions& seed = arguments.sandbox.seed;
    const auto add = [&](const OptionText& text, CommandLine::Take take) {
        line.option(text, noting(arguments, text.name, std::move(take)));
    };
    add({.name = "--user-data",
         .type = "FILE",
         .what = "cloud-init's user data (repeatable; - is standard input)",
         .repeatable = true},
        append(arguments.user_data));
    add({.name = "--network-config", .type = "FILE", .what = "cloud-init's network configuration"},
        store(arguments.network_config));
    add({.name = "--password",
         .type = "TEXT",
         .what = "Password of the user (seen in the list of processes)"},
        store(seed.password));
    add({.name = "--ssh-key",
         .type = "KEY",
         .what = "A public key, or a file of them (repeatable)",
         .repeatable = true},
        append(arguments.ssh_keys));
    add({.name = "--user", .type = "NAME", .what = "The user to make, with sudo (default: the image's own)"},
        store(seed.user));
    add({.name = "--hostname",
         .type = "NAME",
         .what = "Host name of the guest (default: the sandbox's name)"},
        store(seed.hostname));
}

}  // namespace

void add_place(CommandLine& line, vm::Place& place) {
    line.option({.name = "--connect",
                 .type = "URI",
                 .what = "libvirt's URI (default: the sandbox's own; for a new one LIBVIRT_DEFAULT_URI, or "
                         "qemu:///system as root and qemu:///session otherwise)"},
                store(place.connection));
    line.option({.name = "--dir", .type = "DIR", .what = "The folder that holds the sandboxes (VMBOX_DIR)"},
                store(place.folder));
}

void add_name(CommandLine& line, std::string& name) {
    line.operand("NAME", "The sandbox", name);
}

void add_timeout(CommandLine& line, const char* what, unsigned smallest, std::chrono::seconds& timeout) {
    constexpr unsigned day = 86400;
    line.option({.name = "--timeout", .type = "SECONDS", .what = what},
                [&timeout, smallest](const std::string& text) -> Result<void> {
                    unsigned seconds = 0;
                    const auto stored = store_number(seconds, smallest, day)(text);
                    if (stored) timeout = std::chrono::seconds(seconds);
                    return stored;
                });
}

void add_wait(CommandLine& line, vm::WaitOptions& wait) {
    line.option(
        {.name = "--until",
         .type = "STAGE",
         .what = "Wait until: started, console, login, ready (default: a login prompt, and cloud-init's end "
                 "where it is at work), cloud-init, off"},
        store_choice<vm::Until>(wait.until, {{"started", vm::Until::started},
                                             {"console", vm::Until::console},
                                             {"login", vm::Until::login},
                                             {"ready", vm::Until::ready},
                                             {"cloud-init", vm::Until::cloud_init},
                                             {"off", vm::Until::off}}));
    line.flag("--no-wait", "The same as --until started", [&wait] { wait.until = vm::Until::started; });
    add_timeout(line, "How long to wait (600)", 1, wait.timeout);
    line.option(
        {.name = "--accel",
         .type = "HOW",
         .what = "auto (KVM where it works), kvm, or tcg: software emulation",
         .environment = "VMBOX_ACCEL"},
        store_choice<vm::Accel>(
            wait.accel, {{"auto", vm::Accel::automatic}, {"kvm", vm::Accel::kvm}, {"tcg", vm::Accel::tcg}}));
}

void add_new_sandbox(CommandLine& line, NewSandboxArguments& arguments) {
    vm::NewSandbox& sandbox = arguments.sandbox;
    line.option(
        {.name = "--image", .type = "BASE", .what = "The base image of a new sandbox; it is only read"},
        store(sandbox.base));
    line.option({.name = "--disk",
                 .type = "SIZE",
                 .what = "Size of the guest's disk, or by how much it is larger than the base (+20G)"},
                noting(arguments, "--disk", store_parsed(parse_size_change, sandbox.disk)));
    line.flag("--expand", "Let the partition and the file system grow with the disk before the guest starts",
              [&arguments, &sandbox] {
                  arguments.first_given = "--expand";
                  sandbox.expand = true;
              });
    line.option({.name = "--format",
                 .type = "FORMAT",
                 .what = "The base's format (default: told by its first bytes)"},
                noting(arguments, "--format", [&sandbox](const std::string& text) -> Result<void> {
                    sandbox.base_format = text;
                    return {};
                }));
    add_machine(line, arguments);
    add_seed(line, arguments);
}

Result<std::optional<vm::NewSandbox>> read_new_sandbox(NewSandboxArguments& arguments) {
    if (arguments.sandbox.base.empty()) {
        if (arguments.first_given.empty()) return std::optional<vm::NewSandbox>();
        return fail(ErrorKind::invalid_argument,
                    fmt::format("{}: describes a new sandbox and needs --image BASE", arguments.first_given));
    }
    SeedOptions& seed = arguments.sandbox.seed;
    for (const std::string& path : arguments.user_data) {
        auto text = read_seed_text(path);
        if (!text) return std::unexpected(text.error());
        seed.user_data.push_back(std::move(*text));
    }
    if (!arguments.network_config.empty()) {
        auto text = read_seed_text(arguments.network_config);
        if (!text) return std::unexpected(text.error());
        seed.network_config = std::move(*text);
    }
    for (const std::string& key : arguments.ssh_keys) {
        const auto keys = read_ssh_keys(key);
        if (!keys) return std::unexpected(keys.error());
        seed.ssh_keys.insert(seed.ssh_keys.end(), keys->begin(), keys->end());
    }
    return std::optional<vm::NewSandbox>(arguments.sandbox);
}

}  // namespace qimg::vmbox
