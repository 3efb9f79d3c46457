// vmbox ls: the sandboxes and how they are.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include <memory>

#include "cli/vmbox/command.hpp"

namespace qimg::vmbox {

namespace {

struct Arguments {
    vm::Place place;
    bool json = false;
};

std::string uptime_text(std::chrono::seconds uptime) {
    const std::int64_t total = uptime.count();
    if (total < 60) return fmt::format("{} s", total);
    if (total < 3600) return fmt::format("{} min", total / 60);
    if (total < 86400) return fmt::format("{} h {:02} min", total / 3600, total / 60 % 60);
    return fmt::format("{} d {} h", total / 86400, total / 3600 % 24);
}

using Row = std::array<std::string, 7>;

Row row_of(const vm::Listed& entry) {
    return {entry.name,
            entry.state,
            entry.uptime ? uptime_text(*entry.uptime) : "-",
            format_size(entry.disk_bytes),
            format_size(entry.allocated_bytes),
            entry.address.value_or("-"),
            entry.base};
}

void print_table(const std::vector<vm::Listed>& entries) {
    std::vector<Row> rows{{"NAME", "STATE", "UPTIME", "DISK", "USED", "ADDRESS", "BASE"}};
    for (const vm::Listed& entry : entries)
        rows.push_back(row_of(entry));
    std::array<std::size_t, std::tuple_size_v<Row>> widths{};
    for (const Row& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], row[i].size());
    }
    for (const Row& row : rows) {
        for (std::size_t i = 0; i + 1 < row.size(); ++i)
            fmt::print("{:<{}}  ", row[i], widths[i]);
        fmt::print("{}\n", row.back());
    }
}

void print_json(const std::vector<vm::Listed>& entries) {
    auto list = nlohmann::ordered_json::array();
    for (const vm::Listed& entry : entries) {
        nlohmann::ordered_json object;
        object["name"] = entry.name;
        object["state"] = entry.state;
        object["base"] = entry.base;
        object["virtual-size"] = entry.disk_bytes;
        object["actual-size"] = entry.allocated_bytes;
        object["connection"] = entry.connection;
        object["folder"] = entry.folder;
        object["created"] = entry.created;
        if (entry.uptime) object["uptime"] = entry.uptime->count();
        if (entry.address) object["address"] = *entry.address;
        list.push_back(std::move(object));
    }
    fmt::print("{}\n", list.dump(4, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

int run(const Arguments& arguments) {
    Terminal terminal("vmbox");
    const auto entries = vm::list(arguments.place, terminal);
    if (!entries) return print_error(entries.error());
    arguments.json ? print_json(*entries) : print_table(*entries);
    return 0;
}

}  // namespace

Action add_ls(CommandLine& line) {
    const auto arguments = std::make_shared<Arguments>();
    line.option({.name = "--output", .type = "FORMAT", .what = "human (default) or json"},
                [arguments](const std::string& format) -> Result<void> {
                    if (format != "human" && format != "json") {
                        return fail(ErrorKind::invalid_argument,
                                    fmt::format("'{}' is neither human nor json", format));
                    }
                    arguments->json = format == "json";
                    return {};
                });
    add_place(line, arguments->place);
    line.examples(
        "  vmbox ls\n"
        "  vmbox ls --output json | jq -r '.[] | select(.state == \"off\").name'");
    return [arguments] { return run(*arguments); };
}

}  // namespace qimg::vmbox
