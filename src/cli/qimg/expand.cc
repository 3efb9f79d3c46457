// qimg expand: makes a disk longer, with the partition and the file system on it.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/expand.hpp"

#include <fmt/core.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/json_text.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/option_list.hpp"
#include "cli/qimg/output_format.hpp"
#include "cli/qimg/progress_bar.hpp"
#include "cli/qimg/refusal.hpp"
#include "cli/qimg/source_image.hpp"
#include "qimg/size_text.hpp"

namespace qimg::cli {

namespace {

constexpr int partition_only = 5;

enum Key : int { partition = long_only(0), dry_run, force, output };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true},
    {'q', "quiet"},
    {partition, "partition", true},
    {dry_run, "dry-run"},
    {force, "force"},
    {output, "output", true},
    {object, "object", true},
    {image_opts, "image-opts"},
};

constexpr const char* help =
    "usage: qimg expand [OPTION]... IMAGE [[+]SIZE]\n"
    "Makes the disk SIZE long, or longer by SIZE (+), its partition and the file system in it as long as "
    "they can\n"
    "be, in one step. Without SIZE the disk stays as long as it is.\n"
    "\n"
    "  -f, --format FORMAT         qcow2 or raw, instead of what the first bytes say\n"
    "      --partition N|auto      the partition that grows (auto: the root partition, the last one, the "
    "largest)\n"
    "      --dry-run               tell what would be done, and do nothing\n"
    "      --force                 also when other images stand on this one\n"
    "      --output human|json     lines, or an object\n"
    "  -q, --quiet                 print nothing but errors\n"
    "      --image-opts            IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT         accepted; secrets are not used\n";

struct Request {
    SourceOptions source;
    ExpandOptions expand;
    std::string output_name = "human";
    bool force = false;
    bool quiet = false;
};

bool take_partition(Request& request, std::string_view text) {
    request.expand.partition.reset();
    if (text == "auto") return true;
    unsigned number = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size() || number == 0) {
        print_errorf("Invalid partition '{}': a number, or auto", text);
        return false;
    }
    request.expand.partition = number;
    return true;
}

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case partition:
            if (!take_partition(request, arguments.value())) return 1;
            break;
        case dry_run:
            request.expand.dry_run = true;
            break;
        case force:
            request.force = true;
            break;
        case output:
            request.output_name = arguments.value();
            break;
        case 'q':
            request.quiet = true;
            break;
        default:
            return take_source_option(request.source, key, arguments);
    }
    return std::nullopt;
}

void print_lengths(const std::string& what, const Lengths& lengths) {
    if (lengths.before == lengths.after) {
        fmt::print("{}: {}\n", what, format_size(lengths.after));
    } else {
        fmt::print("{}: {} -> {}\n", what, format_size(lengths.before), format_size(lengths.after));
    }
}

void print_report(const ExpandReport& report, bool dry_run) {
    const std::string system = report.file_system.empty() ? "the partition" : report.file_system;
    if (!report.is_changed && report.is_complete) {
        fmt::print("Nothing to do: {} already fills the disk\n", system);
        return;
    }
    print_lengths("Disk", report.disk);
    if (report.partition)
        print_lengths(fmt::format("Partition {}", *report.partition), *report.partition_bytes);
    if (report.file_system_bytes) print_lengths(system, *report.file_system_bytes);
    if (!report.remaining.empty()) fmt::print("Left to do: {}\n", report.remaining);
    if (dry_run) fmt::print("Nothing was changed (--dry-run).\n");
}

Json json_of(const Lengths& lengths) {
    return {{"old-size", lengths.before}, {"size", lengths.after}};
}

void print_report_json(const ExpandReport& report) {
    Json json{{"disk", json_of(report.disk)}};
    if (report.partition) {
        json["partition"] = {{"number", *report.partition}};
        json["partition"].update(json_of(*report.partition_bytes));
    }
    if (!report.file_system.empty()) {
        json["file-system"] = {{"type", report.file_system}};
        if (report.file_system_bytes) json["file-system"].update(json_of(*report.file_system_bytes));
    }
    json["changed"] = report.is_changed;
    json["complete"] = report.is_complete;
    if (!report.remaining.empty()) json["remaining"] = report.remaining;
    print_json(json);
}

// What a crash left is finished first: the image cannot be opened before.
bool finish_earlier(const std::string& name, const Request& request, const ImageLocation& source) {
    if (request.expand.dry_run || source.open.assembly) return true;
    const auto finished = finish_expand(source.path, source.open, command_opener());
    if (!finished) {
        print_error(finished.error());
        return false;
    }
    if (*finished && !request.quiet) {
        fmt::print(stderr, "{}: finished an earlier expand of '{}'\n", program_name(), name);
    }
    return true;
}

int expand_image(const std::string& name, Request& request, OutputFormat format) {
    const auto source = source_image(name, request.source, Access::read_write);
    if (!source || !finish_earlier(name, request, *source)) return 1;
    if (!size_if_writable(name, *source)) return 1;
    if (!request.expand.dry_run && !spares_dependants(source->path, "making it longer", request.force))
        return 1;
    request.expand.path = source->path;
    request.expand.open = source->open;
    ProgressBar progress({.quiet = request.quiet});
    const auto report = expand(request.expand, command_opener(), progress);
    if (!report) {
        print_error(report.error());
        return 1;
    }
    if (format == OutputFormat::json) {
        print_report_json(*report);
    } else if (!request.quiet) {
        print_report(*report, request.expand.dry_run);
    }
    return report->is_complete ? 0 : partition_only;
}

}  // namespace

int expand_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (operands.empty() || operands.size() > 2)
        return usage_error("Expecting image file name and perhaps a size");
    const auto format = parse_output_format(request.output_name);
    if (!format) return 1;
    if (operands.size() == 2) {
        const auto change = parse_size_change(operands[1]);
        if (!change) {
            print_error(option_size_error("size", operands[1], change.error()));
            return 1;
        }
        request.expand.size = *change;
    }
    return expand_image(operands[0], request, *format);
}

}  // namespace qimg::cli
