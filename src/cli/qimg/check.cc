// qimg check: tells whether an image's refcounts and tables agree, and repairs them when asked to.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/check.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/json_text.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/output_format.hpp"
#include "cli/qimg/progress_bar.hpp"
#include "cli/qimg/source_image.hpp"

namespace qimg::cli {

namespace {

enum Key : int { output = long_only(0) };
enum Status : int { whole = 0, not_completed = 1, has_corruptions = 2, has_leaks = 3, no_checks = 63 };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true},    {'r', "repair", true},    {'T', nullptr, true},
    {'q', "quiet"},           {'p', "progress"},        {'U', "force-share"},
    {output, "output", true}, {object, "object", true}, {image_opts, "image-opts"},
};

constexpr const char* help =
    "usage: qimg check [OPTION]... IMAGE\n"
    "Checks that an image's tables and refcounts agree; repairs them when asked to.\n"
    "\n"
    "  -r, --repair leaks|all    lower refcounts that are too high; or mend all that can be mended\n"
    "  -f, --format FORMAT       qcow2 or raw, instead of what the first bytes say\n"
    "      --output human|json   how to print the result\n"
    "  -p, --progress            show how far it is\n"
    "  -q, --quiet               print findings and errors only\n"
    "  -U, --force-share         check an image that is in use; what changes meanwhile looks broken\n"
    "  -T CACHE                  accepted; how QEMU would cache the image\n"
    "      --image-opts          IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT       accepted; secrets are not used\n"
    "\n"
    "Exit status: 0 whole, 1 not completed, 2 corruptions, 3 leaks only, 63 format without checks\n";

struct Line {
    SourceOptions source;
    Repair repair = Repair::none;
    std::string output_name = "human";
    ProgressBar::Wish progress;
};

constexpr std::string_view caches[] = {"none", "off", "writeback", "writethrough", "directsync", "unsafe"};

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Line& line, int key, const Arguments& arguments) {
    const std::string_view value = arguments.value() != nullptr ? arguments.value() : "";
    switch (key) {
        case 'r':
            if (value != "leaks" && value != "all") {
                usage_error(
                    fmt::format("Unknown option value for -r (expecting 'leaks' or 'all'): {}", value));
                return not_completed;
            }
            line.repair = value == "leaks" ? Repair::leaks : Repair::all;
            return std::nullopt;
        case 'T':
            if (std::ranges::find(caches, value) != std::end(caches)) return std::nullopt;
            print_errorf("Invalid source cache option: {}", value);
            return not_completed;
        case 'q':
            line.progress.quiet = true;
            return std::nullopt;
        case 'p':
            line.progress.asked = true;
            return std::nullopt;
        case output:
            line.output_name = value;
            return std::nullopt;
        default:
            return take_source_option(line.source, key, arguments);
    }
}

void print_counters(const CheckReport& report) {
    if (report.corruptions == 0 && report.leaks == 0 && report.check_errors == 0) {
        fmt::print("No errors were found on the image.\n");
    }
    if (report.corruptions != 0) {
        fmt::print(
            "\n{} errors were found on the image.\n"
            "Data may be corrupted, or further writes to the image may corrupt it.\n",
            report.corruptions);
    }
    if (report.leaks != 0) {
        fmt::print(
            "\n{} leaked clusters were found on the image.\n"
            "This means waste of disk space, but no harm to data.\n",
            report.leaks);
    }
    if (report.check_errors != 0) {
        fmt::print("\n{} internal errors have occurred during the check.\n", report.check_errors);
    }
}

void print_human(const CheckReport& report) {
    if (report.corruptions_fixed != 0 || report.leaks_fixed != 0) {
        fmt::print(
            "The following inconsistencies were found and repaired:\n\n"
            "    {} leaked clusters\n    {} corruptions\n\n"
            "Double checking the fixed image now...\n",
            report.leaks_fixed, report.corruptions_fixed);
    }
    print_counters(report);
    if (report.total_clusters != 0 && report.allocated_clusters != 0) {
        const auto percent = [](std::uint64_t part, std::uint64_t all) {
            return static_cast<double>(part) * 100.0 / static_cast<double>(all);
        };
        fmt::print("{}/{} = {:0.2f}% allocated, {:0.2f}% fragmented, {:0.2f}% compressed clusters\n",
                   report.allocated_clusters, report.total_clusters,
                   percent(report.allocated_clusters, report.total_clusters),
                   percent(report.fragmented_clusters, report.allocated_clusters),
                   percent(report.compressed_clusters, report.allocated_clusters));
    }
    if (report.image_end_offset) fmt::print("Image end offset: {}\n", *report.image_end_offset);
}

// The members in QEMU's order; those that are zero are left out.
Json check_json(const CheckReport& report, const std::string& name) {
    Json json;
    const auto add = [&](const char* member, std::uint64_t value) {
        if (value != 0) json[member] = value;
    };
    add("image-end-offset", report.image_end_offset.value_or(0));
    add("compressed-clusters", report.compressed_clusters);
    add("total-clusters", report.total_clusters);
    add("corruptions", report.corruptions);
    add("corruptions-fixed", report.corruptions_fixed);
    json["check-errors"] = report.check_errors;
    add("leaks", report.leaks);
    add("leaks-fixed", report.leaks_fixed);
    add("allocated-clusters", report.allocated_clusters);
    json["filename"] = name;
    json["format"] = report.format;
    add("fragmented-clusters", report.fragmented_clusters);
    return json;
}

int failed(const std::string& name, const ImageLocation& image, const Error& error) {
    if (error.kind == ErrorKind::unsupported && without_open_prefix(image, error).message == error.message) {
        print_error(error);
        return no_checks;
    }
    if (!error.hint.empty()) {
        print_error(error);
        print_errorf("Check failed: {}", std::strerror(error.system_errno));
        return not_completed;
    }
    return open_error(name, image, error);
}

}  // namespace

int check_command(int argc, char** argv) {
    Line line;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(line, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (operands.size() != 1) return usage_error("Expecting one image file name");
    const auto format = parse_output_format(line.output_name);
    if (!format) return not_completed;
    const Access access = line.repair == Repair::none ? Access::read_only : Access::read_write;
    const auto image = source_image(operands[0], line.source, access);
    if (!image) return not_completed;

    CheckOptions options{image->path, image->open, line.repair, print_finding};
    ProgressBar progress(line.progress);
    const auto report = check(options, command_opener(), progress);
    if (!report) return failed(operands[0], *image, report.error());
    if (*format == OutputFormat::json) {
        print_json(check_json(*report, operands[0]));
    } else if (!line.progress.quiet) {
        print_human(*report);
    }
    if (report->check_errors != 0) {
        print_error("Check failed");
        return not_completed;
    }
    if (report->corruptions != 0) return has_corruptions;
    return report->leaks != 0 ? has_leaks : whole;
}

}  // namespace qimg::cli
