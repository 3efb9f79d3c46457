// The partitions of a disk as a table and as JSON.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/partitions_text.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "cli/qimg/json_text.hpp"
#include "qimg/size_text.hpp"

namespace qimg::cli {

namespace {

constexpr std::size_t columns = 7;
constexpr std::size_t right_aligned = 3;  // the first ones
constexpr std::string_view gap = "  ";

struct Row {
    std::uint64_t start = 0;
    std::array<std::string, columns> cells;
};

// Bytes that begin a character.
std::size_t width_of(const std::string& text) {
    return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

void print_table(const std::vector<Row>& rows) {
    std::array<std::size_t, columns> widths{};
    for (const Row& row : rows) {
        for (std::size_t i = 0; i < columns; ++i)
            widths[i] = std::max(widths[i], width_of(row.cells[i]));
    }
    for (const Row& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < columns; ++i) {
            if (widths[i] == 0) continue;  // no row has anything to say
            const std::string padding(widths[i] - width_of(row.cells[i]), ' ');
            if (!line.empty()) line += gap;
            line += i < right_aligned ? padding + row.cells[i] : row.cells[i] + padding;
        }
        line.erase(line.find_last_not_of(' ') + 1);
        fmt::print("{}\n", line);
    }
}

Row row_of(const PartitionInfo& one) {
    Row row{one.start,
            {fmt::format("{}", one.number), format_size(one.start), format_size(one.bytes),
             one.type_name.empty() ? one.type : one.type_name}};
    if (one.bootable) row.cells[3] += ", bootable";
    if (one.file_system) {
        row.cells[4] = one.file_system->type;
        row.cells[5] = one.file_system->label;
    }
    row.cells[6] = one.name;
    return row;
}

std::string described(const FileSystemInfo& system) {
    std::string text = system.type;
    if (!system.label.empty()) text += fmt::format(" '{}'", system.label);
    if (system.bytes) text += fmt::format(", {}", format_size(*system.bytes));
    return text;
}

void print_head(const PartitionsReport& report) {
    fmt::print("Disk:  {} ({} bytes)\n", format_size(report.disk_bytes), report.disk_bytes);
    if (report.table.empty()) {
        fmt::print("Table: none\n");
        if (report.file_system) fmt::print("Holds: {}\n", described(*report.file_system));
        return;
    }
    fmt::print("Table: {}{}{}", report.table == "gpt" ? "GPT" : "MBR", report.id.empty() ? "" : " ",
               report.id);
    if (report.sector_bytes != 512) fmt::print(", sectors of {} bytes", report.sector_bytes);
    fmt::print("\n");
}

Json json_of(const FileSystemInfo& system) {
    Json json{{"type", system.type}, {"label", system.label}, {"uuid", system.uuid}};
    if (system.bytes) json["size"] = *system.bytes;
    return json;
}

Json json_of(const PartitionInfo& one) {
    Json json{{"number", one.number}, {"start", one.start}, {"size", one.bytes}, {"type", one.type}};
    if (!one.type_name.empty()) json["type-name"] = one.type_name;
    if (!one.guid.empty()) {
        json["name"] = one.name;
        json["guid"] = one.guid;
    }
    json["bootable"] = one.bootable;
    if (one.file_system) json["file-system"] = json_of(*one.file_system);
    return json;
}

}  // namespace

void print_partitions(const PartitionsReport& report) {
    print_head(report);
    std::vector<Row> rows;
    for (const PartitionInfo& one : report.partitions)
        rows.push_back(row_of(one));
    for (const FreeSpace& one : report.free_space)
        rows.push_back({one.start, {"-", format_size(one.start), format_size(one.bytes), "free"}});
    std::ranges::stable_sort(rows, {}, &Row::start);
    rows.insert(rows.begin(), {0, {"Number", "Start", "Size", "Type", "Holds", "Label", "Name"}});
    if (rows.size() > 1) {
        fmt::print("\n");
        print_table(rows);
    }
    for (const std::string& note : report.notes)
        fmt::print("\nNote: {}\n", note);
}

void print_partitions_json(const PartitionsReport& report) {
    Json json{{"virtual-size", report.disk_bytes}};
    if (!report.table.empty()) {
        json["table"] = report.table;
        json["id"] = report.id;
        json["sector-size"] = report.sector_bytes;
    }
    if (report.file_system) json["file-system"] = json_of(*report.file_system);
    json["partitions"] = Json::array();
    for (const PartitionInfo& one : report.partitions)
        json["partitions"].push_back(json_of(one));
    json["free-space"] = Json::array();
    for (const FreeSpace& one : report.free_space)
        json["free-space"].push_back({{"start", one.start}, {"size", one.bytes}});
    json["notes"] = report.notes;
    print_json(json);
}

}  // namespace qimg::cli
