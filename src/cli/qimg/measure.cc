// qimg measure: prints how much space a new image will need.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/measure.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/create_options.hpp"
#include "cli/qimg/json_text.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/option_list.hpp"
#include "cli/qimg/output_format.hpp"
#include "cli/qimg/preallocation_name.hpp"
#include "cli/qimg/size_argument.hpp"
#include "cli/qimg/snapshot_choice.hpp"
#include "cli/qimg/source_image.hpp"

namespace qimg::cli {

namespace {

enum Key : int { output = long_only(0) };

constexpr OptionSpec option_specs[] = {
    {'O', "target-format", true}, {'o', "options", true},   {'s', "size", true},
    {'f', "format", true},        {'l', "snapshot", true},  {'U', "force-share"},
    {output, "output", true},     {object, "object", true}, {image_opts, "image-opts"},
};

constexpr const char* help =
    "usage: qimg measure [OPTION]... IMAGE\n"
    "       qimg measure [OPTION]... --size SIZE\n"
    "Tells how much space a new image needs that is made from IMAGE, or is empty and of SIZE.\n"
    "\n"
    "  -O, --target-format FORMAT    qcow2 or raw: the new image (default: raw)\n"
    "  -o, --options NAME=VALUE,...  properties of the new image, as for create\n"
    "  -s, --size SIZE               the size of an empty disk\n"
    "  -f, --format FORMAT           qcow2, raw or vmdk: IMAGE, instead of what its first bytes say\n"
    "  -l, --snapshot SNAPSHOT       the disk as it was then\n"
    "      --output human|json       lines, or an object\n"
    "  -U, --force-share             look at an image that is in use\n"
    "      --image-opts              IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT           accepted; secrets are not used\n";

struct Request {
    SourceOptions source;
    std::string output_name = "human";
    std::optional<std::uint64_t> size;
    OptionList options;
    MeasureOptions measure;
};

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 'O':
            request.measure.format = arguments.value();
            break;
        case 'o':
            if (!request.options.add(arguments.value())) {
                print_errorf("Invalid option list: {}", arguments.value());
                return 1;
            }
            break;
        case 'l':
            request.measure.snapshot = parse_snapshot_choice(arguments.value());
            if (!request.measure.snapshot) return 1;
            break;
        case 's':
            request.size = parse_size_argument("image size", arguments.value());
            if (!request.size) return 1;
            break;
        case output:
            if (!parse_output_format(arguments.value())) return 1;
            request.output_name = arguments.value();
            break;
        default:
            return take_source_option(request.source, key, arguments);
    }
    return std::nullopt;
}

// The source, or the size of what has none; false with the error printed.
bool resolve_source(Request& request, const std::vector<std::string>& operands) {
    const bool needs_image = request.source.image_opts || request.source.format || request.measure.snapshot;
    const char* wrong = nullptr;
    if (operands.size() > 1) {
        wrong = "At most one filename argument is allowed.";
    } else if (operands.empty() && needs_image) {
        wrong = "--image-opts, -f, and -l require a filename argument.";
    } else if (operands.empty() && !request.size) {
        wrong = "Either --size N or one filename must be specified.";
    } else if (!operands.empty() && request.size) {
        wrong = "--size N cannot be used together with a filename.";
    }
    if (wrong != nullptr) {
        print_error(wrong);
        return false;
    }
    request.measure.size = request.size.value_or(0);
    if (operands.empty()) return true;
    request.measure.source = source_image(operands[0], request.source, Access::read_only);
    return request.measure.source.has_value();
}

std::unexpected<Error> refuse(std::string text) {
    return fail(ErrorKind::invalid_argument, std::move(text));
}

// What the size depends on. The rest of the options is known, but not looked at.
Result<void> take_layout(const CreationOptions& options, MeasureOptions& measure) {
    if (measure.format != "qcow2") return {};
    const auto preallocation = preallocation_named(options.value("preallocation").value_or("off"));
    if (!preallocation)
        return refuse(fmt::format("invalid parameter value: {}", *options.value("preallocation")));
    measure.preallocation = *preallocation;
    if (options.find("encrypt.format") != nullptr)
        return fail(ErrorKind::unsupported, "Encrypted images are not supported");
    const std::string compat = options.value("compat").value_or("1.1");
    if (compat != "0.10" && compat != "1.1")
        return refuse(fmt::format("Invalid compatibility level: '{}'", compat));
    measure.qcow2.version = compat == "0.10" ? 2 : 3;
    measure.qcow2.cluster_bytes = options.find("cluster_size")->number;
    // a width that does not fit is as wrong as 65
    measure.qcow2.refcount_bits =
        static_cast<unsigned>(std::min<std::uint64_t>(options.find("refcount_bits")->number, 65));
    measure.qcow2.extended_l2 = options.find("extended_l2")->number != 0;
    measure.qcow2.backing_file = options.value("backing_file");
    return {};
}

// The layout of the new image; false with the error printed.
bool resolve_target(Request& request) {
    const std::string& format = request.measure.format;
    if (const auto creatable = check_creatable(format); !creatable) {
        print_error(creatable.error());
        return false;
    }
    const auto options = CreationOptions::parse(format, request.options);
    if (!options) {
        print_error(options.error());
        print_errorf("Invalid options for file format '{}'", format);
        return false;
    }
    if (const auto taken = take_layout(*options, request.measure); !taken) {
        print_error(taken.error());
        return false;
    }
    return true;
}

void print_report(const MeasureReport& report, OutputFormat format) {
    if (format == OutputFormat::human) {
        fmt::print("required size: {}\nfully allocated size: {}\n", report.required, report.fully_allocated);
        if (report.bitmaps) fmt::print("bitmaps size: {}\n", *report.bitmaps);
        return;
    }
    Json json;
    if (report.bitmaps) json["bitmaps"] = *report.bitmaps;
    json["required"] = report.required;
    json["fully-allocated"] = report.fully_allocated;
    print_json(json);
}

}  // namespace

int measure_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (!resolve_source(request, operands)) return 1;
    confined_opener(Reach::chain);
    if (request.measure.source) {
        // what is wrong with the source is told before what is wrong with the target
        const auto image =
            Image::open(request.measure.source->path, request.measure.source->open, command_opener());
        if (!image) return open_error(operands[0], *request.measure.source, image.error());
    }
    if (!resolve_target(request)) return 1;
    last_image_follows();
    const auto report = measure(request.measure, command_opener());
    if (!report) {
        print_error(report.error());
        return 1;
    }
    print_report(*report, *parse_output_format(request.output_name));
    return 0;
}

}  // namespace qimg::cli
