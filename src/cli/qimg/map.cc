// qimg map: prints where each run of guest bytes comes from.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/map.hpp"

#include <fmt/core.h>

#include <cstdio>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/output_format.hpp"
#include "cli/qimg/size_argument.hpp"
#include "cli/qimg/source_image.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

enum Key : int { output = long_only(0) };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true},    {'s', "start-offset", true}, {'l', "max-length", true},  {'U', "force-share"},
    {output, "output", true}, {object, "object", true},    {image_opts, "image-opts"},
};

constexpr const char* help =
    "usage: qimg map [OPTION]... IMAGE\n"
    "Tells which parts of the disk hold data, and where it lies in which file.\n"
    "\n"
    "  -f, --format FORMAT         qcow2, raw or vmdk, instead of what the first bytes say\n"
    "      --output human|json     a table of data, or every run with what is known of it\n"
    "  -s, --start-offset SIZE     begin here\n"
    "  -l, --max-length SIZE       and look at this much\n"
    "  -U, --force-share           look at an image that is in use\n"
    "      --image-opts            IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT         accepted; secrets are not used\n";

void print_json_entry(const MapEntry& entry, bool first) {
    fmt::print(
        "{}{{ \"start\": {}, \"length\": {}, \"depth\": {}, \"present\": {}, \"zero\": {}, \"data\": {}",
        first ? "[" : ",\n", entry.start, entry.length, entry.depth, entry.present, entry.zero, entry.data);
    if (entry.offset) fmt::print(", \"offset\": {}", *entry.offset);
    fmt::print("}}");
}

void print_table_head() {
    fmt::print("{:<16}{:<16}{:<16}{}\n", "Offset", "Length", "Mapped to", "File");
}

// Only data has a line. False when it lies where no offset leads to it.
bool print_table_entry(const MapEntry& entry) {
    if (!entry.data || entry.zero) return true;
    if (!entry.offset || !entry.filename) {
        print_error("File contains external, encrypted or compressed clusters.");
        return false;
    }
    // "#" puts no 0x before a zero in C, which libfmt does
    std::printf("%#-16llx%#-16llx%#-16llx%s\n", static_cast<unsigned long long>(entry.start),
                static_cast<unsigned long long>(entry.length), static_cast<unsigned long long>(*entry.offset),
                printable(*entry.filename).c_str());
    return true;
}

Result<bool> print_map(const MapOptions& options, OutputFormat format) {
    bool first = true;
    bool complete = true;
    const auto on_entry = [&](const MapEntry& entry) -> Result<void> {
        if (format == OutputFormat::json) {
            print_json_entry(entry, first);
        } else {
            if (first) print_table_head();  // not before the image has been opened
            complete = print_table_entry(entry);
        }
        first = false;
        if (!complete) return fail(ErrorKind::cancelled, "");
        return {};
    };
    const auto done = map(options, on_entry, command_opener());
    if (!done && complete) return std::unexpected<Error>(done.error());
    if (first && format == OutputFormat::human) print_table_head();
    if (format == OutputFormat::json) {
        MapEntry nothing;
        nothing.start = options.start;
        if (first) print_json_entry(nothing, true);
        fmt::print("]\n");
    }
    return complete;
}

struct Request {
    SourceOptions source;
    std::string output_name = "human";
    std::optional<std::uint64_t> start;
    std::optional<std::uint64_t> max_length;
};

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 's':
            request.start = parse_size_argument("start offset", arguments.value());
            if (!request.start) return 1;
            break;
        case 'l':
            request.max_length = parse_size_argument("max length", arguments.value());
            if (!request.max_length) return 1;
            break;
        case output:
            request.output_name = arguments.value();
            break;
        default:
            return take_source_option(request.source, key, arguments);
    }
    return std::nullopt;
}

}  // namespace

int map_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (operands.size() != 1) return usage_error("Expecting one image file name");
    const auto format = parse_output_format(request.output_name);
    if (!format) return 1;
    const auto image = source_image(operands[0], request.source, Access::read_only);
    if (!image) return 1;

    confined_opener(Reach::chain);
    last_image_follows();
    MapOptions options;
    options.path = image->path;
    options.open = image->open;
    options.start = request.start.value_or(0);
    options.max_length = request.max_length;
    const auto complete = print_map(options, *format);
    if (!complete) return open_error(operands[0], *image, complete.error());
    return *complete ? 0 : 1;
}

}  // namespace qimg::cli
