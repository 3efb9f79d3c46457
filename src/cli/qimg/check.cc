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
#include "cli/qimg/pin_name.hpp"
#include "cli/qimg/progress_bar.hpp"
#include "cli/qimg/source_image.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

enum Key : int { output = long_only(0), backing_chain };
enum Status : int { whole = 0, not_completed = 1, has_corruptions = 2, has_leaks = 3, no_checks = 63 };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true},      {'r', "repair", true},
    {'T', nullptr, true},       {'q', "quiet"},
    {'p', "progress"},          {'U', "force-share"},
    {output, "output", true},   {object, "object", true},
    {image_opts, "image-opts"}, {backing_chain, "backing-chain"},
};

constexpr const char* help =
    "usage: qimg check [OPTION]... IMAGE\n"
    "Checks that an image's tables and refcounts agree; repairs them when asked to.\n"
    "\n"
    "  -r, --repair leaks|all    lower refcounts that are too high; or mend all that can be mended\n"
    "      --backing-chain       every image below IMAGE, too, and whether it is what it was when the one "
    "above\n"
    "                            it was made\n"
    "  -f, --format FORMAT       qcow2, raw or vmdk, instead of what the first bytes say\n"
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
    bool backing_chain = false;
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
        case backing_chain:
            line.backing_chain = true;
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

int status_of(const CheckReport& report) {
    if (report.check_errors != 0) return not_completed;
    if (report.corruptions != 0) return has_corruptions;
    return report.leaks != 0 ? has_leaks : whole;
}

// Of several: what was not completed first, then what is worst.
int status_of(const ChainCheckReport& report) {
    constexpr int by_weight[] = {not_completed, has_corruptions, has_leaks};
    const auto has = [&](int status) {
        const bool changed = std::ranges::any_of(
            report.pins, [](const PinReport& pin) { return pin.state == PinState::changed; });
        if (status == has_corruptions && changed) return true;
        return std::ranges::any_of(report.images,
                                   [&](const CheckReport& image) { return status_of(image) == status; });
    };
    const auto found = std::ranges::find_if(by_weight, has);
    return found == std::end(by_weight) ? whole : *found;
}

// What people read about an image that is as it was, or of which that is not known.
void print_pin(const PinReport& pin) {
    const std::string below = printable(pin.base);
    switch (pin.state) {
        case PinState::none:
            fmt::print("What it stands on, '{}', is not pinned.\n", below);
            break;
        case PinState::unknown:
            fmt::print("What it stands on, '{}', is pinned in a way that is not known here.\n", below);
            break;
        case PinState::same:
            fmt::print("What it stands on, '{}', is what it was.\n", below);
            for (const std::string& hint : pin.hints)
                fmt::print("    {}\n", hint);
            break;
        case PinState::changed:
            fmt::print("What it stands on, '{}', is not what it was.\n", below);
            break;
    }
}

Json chain_json(const ChainCheckReport& report) {
    Json chain = Json::array();
    for (std::size_t i = 0; i < report.images.size(); ++i) {
        Json image = check_json(report.images[i], report.images[i].path);
        if (i < report.pins.size()) {
            const PinReport& pin = report.pins[i];
            image["base-pin"] = {
                {"state", word_for(pin.state)}, {"changes", pin.changes}, {"hints", pin.hints}};
        }
        chain.push_back(std::move(image));
    }
    return chain;
}

void print_chain(const ChainCheckReport& report) {
    for (std::size_t i = 0; i < report.images.size(); ++i) {
        const CheckReport& image = report.images[i];
        fmt::print("{}image: {}\n", i == 0 ? "" : "\n", printable(image.path));
        if (image.format != "raw") {
            print_human(image);
        } else {
            fmt::print("A {} image has nothing to check.\n", image.format);
        }
        if (i < report.pins.size()) print_pin(report.pins[i]);
    }
}

int check_whole_chain(const std::string& name, const ImageLocation& image, const CheckOptions& options,
                      OutputFormat format, ProgressBar::Wish wish) {
    ProgressBar progress(wish);
    const auto report = check_chain(options, command_opener(), progress);
    if (!report) return failed(name, image, report.error());
    if (format == OutputFormat::json) {
        print_json(chain_json(*report));
    } else if (!wish.quiet) {
        print_chain(*report);
    }
    for (const PinReport& pin : report->pins) {
        if (pin.state == PinState::changed)
            print_errorf("{}; {}", describe_change(pin), advice_on_change(pin));
    }
    return status_of(*report);
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

    if (access == Access::read_only) {
        // the chain too, although a check looks at one image alone: one that cannot be opened is no good image
        confined_opener(Reach::chain);
        last_image_follows();
    }
    CheckOptions options{image->path, image->open, line.repair, print_finding};
    if (line.backing_chain && line.repair != Repair::none) {
        print_error("--backing-chain cannot be used with -r: repair the images one by one");
        return not_completed;
    }
    if (line.backing_chain) return check_whole_chain(operands[0], *image, options, *format, line.progress);
    ProgressBar progress(line.progress);
    const auto report = check(options, command_opener(), progress);
    if (!report) return failed(operands[0], *image, report.error());
    if (*format == OutputFormat::json) {
        print_json(check_json(*report, operands[0]));
    } else if (!line.progress.quiet) {
        print_human(*report);
    }
    if (report->check_errors != 0) print_error("Check failed");
    return status_of(*report);
}

}  // namespace qimg::cli
