// From blkdebug's rules to faults.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/blkdebug.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>

#include "qimg/printable.hpp"
#include "qimg/units.hpp"

namespace qimg::cli {

namespace {

using Rule = std::map<std::string, std::string>;
using Operation = Fault::Operation;

struct Event {
    std::string_view name;
    Operation operation;
};
// What happens on behalf of the guest; other events are steps inside QEMU's own qcow2 driver.
constexpr std::array guest_events = {
    Event{"read_aio", Operation::read},          Event{"read_backing_aio", Operation::read},
    Event{"read_compressed", Operation::read},   Event{"write_aio", Operation::write},
    Event{"write_compressed", Operation::write}, Event{"flush_to_disk", Operation::flush}};

struct IoType {
    std::string_view name;
    Operation operation;
};
constexpr std::array io_types = {IoType{"read", Operation::read}, IoType{"write", Operation::write},
                                 IoType{"flush", Operation::flush},
                                 IoType{"block-status", Operation::block_status}};

std::string value_of(const Rule& rule, const std::string& name, std::string_view otherwise) {
    const auto found = rule.find(name);
    return found == rule.end() ? std::string(otherwise) : found->second;
}

template <class Number>
Result<Number> number_of(const Rule& rule, const std::string& name, Number otherwise) {
    const std::string text = value_of(rule, name, "");
    if (text.empty()) return otherwise;
    Number number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && end == text.data() + text.size()) return number;
    return fail(ErrorKind::invalid_argument, fmt::format("Parameter '{}' expects a number", name));
}

// The operations that a rule is about: those of its I/O type, or all but block-status.
std::vector<Operation> operations_of(const std::string& io_type) {
    std::vector<Operation> operations;
    for (const IoType& known : io_types) {
        if (io_type == known.name || (io_type.empty() && known.operation != Operation::block_status)) {
            operations.push_back(known.operation);
        }
    }
    return operations;
}

Result<void> add_faults(const Rule& rule, BlkdebugPlace place, Assembly& assembly) {
    const auto state = number_of(rule, "state", 0);
    if (!state) return std::unexpected<Error>(state.error());
    if (*state > 1) return {};  // other states are never reached: nothing here changes them
    Fault fault;
    const auto error_number = number_of(rule, "errno", fault.error_number);
    const auto sector = number_of<std::int64_t>(rule, "sector", -1);
    if (!error_number) return std::unexpected<Error>(error_number.error());
    if (!sector) return std::unexpected<Error>(sector.error());
    fault.error_number = *error_number;
    if (*sector >= 0) fault.offset = static_cast<std::uint64_t>(*sector) * sector_bytes;
    const std::string once = value_of(rule, "once", "off");
    fault.once = once == "on" || once == "true";

    const std::string event = value_of(rule, "event", "none");
    if (event == "none") {
        auto& faults = place == BlkdebugPlace::under_format ? assembly.file_faults : assembly.guest_faults;
        for (const Operation operation : operations_of(value_of(rule, "iotype", ""))) {
            fault.operation = operation;
            faults.push_back(fault);
        }
        return {};
    }
    for (const Event& known : guest_events) {
        if (event != known.name) continue;
        fault.operation = known.operation;
        // offsets would be the file's, and those of guest data in it are not known before it is read
        if (place == BlkdebugPlace::under_format) fault.offset.reset();
        assembly.guest_faults.push_back(fault);
        return {};
    }
    return fail(ErrorKind::unsupported,
                fmt::format("blkdebug: the event '{}' is inside QEMU's driver and does not happen here",
                            printable(event)));
}

// `"value"` or `value`, without blanks around it.
std::string unquoted(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\"");
    if (first == text.npos) return {};
    return std::string(text.substr(first, text.find_last_not_of(" \t\"\r") - first + 1));
}

}  // namespace

Result<bool> take_blkdebug_options(NodeMembers& members, BlkdebugPlace place, Assembly& assembly) {
    constexpr std::array limits = {"align",       "max-transfer", "opt-write-zero",   "max-write-zero",
                                   "opt-discard", "max-discard",  "take-child-perms", "unshare-child-perms"};
    std::map<std::string, Rule> rules;
    bool any = false;
    for (auto member = members.begin(); member != members.end();) {
        const std::string& name = member->first;
        const bool is_rule = name.starts_with("inject-error.");
        const bool is_limit = std::any_of(limits.begin(), limits.end(), [&](const std::string_view limit) {
            return name == limit || name.starts_with(std::string(limit) + ".");
        });
        if (!is_rule && !is_limit && !name.starts_with("set-state.")) {
            ++member;
            continue;
        }
        const std::size_t dot = name.find('.', name.find('.') + 1);
        if (is_rule && dot != name.npos)
            rules[name.substr(0, dot)][name.substr(dot + 1)] = member->second.value_or("");
        any = true;
        member = members.erase(member);
    }
    for (const auto& [key, rule] : rules) {
        if (const auto added = add_faults(rule, place, assembly); !added)
            return std::unexpected<Error>(added.error());
    }
    return any;
}

Result<void> read_blkdebug_config(const std::string& path, BlkdebugPlace place, Assembly& assembly) {
    std::ifstream file(path);
    if (!file) {
        return fail(ErrorKind::not_found,
                    fmt::format("Could not read blkdebug config file '{}'", printable(path)));
    }
    std::vector<Rule> rules;
    bool in_rule = false;
    for (std::string line; std::getline(file, line);) {
        const std::size_t first = line.find_first_not_of(" \t\r");
        if (first == line.npos || line[first] == '#') continue;
        if (line[first] == '[') {
            in_rule = line.compare(first, 14, "[inject-error]") == 0;
            if (in_rule) rules.emplace_back();
            continue;
        }
        const std::size_t equals = line.find('=');
        if (equals == line.npos) {
            return fail(ErrorKind::invalid_argument,
                        fmt::format("Could not parse blkdebug config file '{}'", printable(path)));
        }
        if (in_rule) rules.back()[unquoted(line.substr(0, equals))] = unquoted(line.substr(equals + 1));
    }
    for (const Rule& rule : rules) {
        if (const auto added = add_faults(rule, place, assembly); !added)
            return std::unexpected<Error>(added.error());
    }
    return {};
}

}  // namespace qimg::cli
