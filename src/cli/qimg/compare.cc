// qimg compare: tells whether guests see the same on two disks.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/compare.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/cache_mode.hpp"
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

constexpr OptionSpec option_specs[] = {
    {'f', "a-format", true},  {'F', "b-format", true},    {'s', "strict"}, {'T', "cache", true},
    {'U', "force-share"},     {'p', "progress"},          {'q', "quiet"},  {output, "output", true},
    {object, "object", true}, {image_opts, "image-opts"},
};

constexpr const char* help =
    "usage: qimg compare [OPTION]... IMAGE1 IMAGE2\n"
    "Tells whether guests see the same on both disks; a longer one may go on with zeroes.\n"
    "\n"
    "  -f, --a-format FORMAT     qcow2, raw or vmdk: IMAGE1, instead of what its first bytes say\n"
    "  -F, --b-format FORMAT     the same for IMAGE2\n"
    "  -s, --strict              sizes, and what is allocated, have to be the same, too\n"
    "      --output human|json   a sentence, or what was found as an object\n"
    "  -p, --progress            show how far it is\n"
    "  -q, --quiet               print nothing but errors\n"
    "  -U, --force-share         read images that are in use\n"
    "      --image-opts          IMAGEs are lists such as driver=qcow2,file.filename=NAME\n"
    "  -T, --cache CACHE         accepted; without effect\n"
    "      --object OBJECT       accepted; secrets are not used\n";

// Exit statuses beside 0, identical, and 1, different.
constexpr int trouble = 2;
constexpr int no_status = 3;
constexpr int no_data = 4;

struct Request {
    SourceOptions source;
    std::optional<std::string> second_format;
    std::string output_name = "human";
    bool strict = false;
    bool show_progress = false;
    bool quiet = false;
};

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 'F':
            request.second_format = arguments.value();
            break;
        case 's':
            request.strict = true;
            break;
        case 'T':
            if (!is_cache_mode(arguments.value())) {
                print_errorf("Invalid source cache option: {}", arguments.value());
                return trouble;
            }
            break;
        case 'p':
            request.show_progress = true;
            break;
        case 'q':
            request.quiet = true;
            break;
        case output:
            request.output_name = arguments.value();
            break;
        case object:
            if (!parse_object(arguments.value())) return trouble;
            break;
        default:
            return take_source_option(request.source, key, arguments);
    }
    return std::nullopt;
}

// Null, with the error printed, when it cannot be opened.
std::unique_ptr<Image> open_image(const std::string& name, const SourceOptions& source) {
    const auto location = source_image(name, source, Access::read_only);
    if (!location) return nullptr;
    auto image = Image::open(location->path, location->open, command_opener());
    if (image) return std::move(*image);
    open_error(name, *location, image.error());
    return nullptr;
}

std::string sentence(const CompareReport& report) {
    switch (report.verdict) {
        case CompareVerdict::identical:
            return "Images are identical.";
        case CompareVerdict::sizes_differ:
            return "Strict mode: Image size mismatch!";
        case CompareVerdict::status_differs:
            return fmt::format("Strict mode: Offset {} block status mismatch!", *report.offset);
        case CompareVerdict::content_differs:
            return fmt::format("Content mismatch at offset {}!", *report.offset);
        case CompareVerdict::status_unknown:
        case CompareVerdict::content_unreadable:
            break;
    }
    return {};
}

const char* difference_name(CompareVerdict verdict) {
    switch (verdict) {
        case CompareVerdict::sizes_differ:
            return "size";
        case CompareVerdict::status_differs:
            return "block-status";
        case CompareVerdict::content_differs:
            return "content";
        default:
            return nullptr;
    }
}

Json json_of(const CompareReport& report, const Image& first, const Image& second) {
    Json json;
    json["identical"] = report.verdict == CompareVerdict::identical;
    if (const char* name = difference_name(report.verdict)) json["difference"] = name;
    if (report.offset) json["offset"] = *report.offset;
    json["virtual-sizes"] = {first.size(), second.size()};
    return json;
}

int exit_status(CompareVerdict verdict) {
    switch (verdict) {
        case CompareVerdict::identical:
            return 0;
        case CompareVerdict::status_unknown:
            return no_status;
        case CompareVerdict::content_unreadable:
            return no_data;
        default:
            return 1;
    }
}

int compare_images(const Request& request, OutputFormat format, const Image& first, const Image& second) {
    const bool is_human = format == OutputFormat::human;
    const bool says_much = is_human && !request.quiet;
    CompareOptions options;
    options.strict = request.strict;
    if (says_much) options.on_size_mismatch = [] { fmt::print("Warning: Image size mismatch!\n"); };
    ProgressBar progress({.asked = request.show_progress && says_much, .quiet = !says_much});
    const auto report = compare(first, second, options, progress);
    if (!report) {
        print_error(report.error());
        return no_data;
    }
    if (report->error) {
        print_error(*report->error);
    } else if (!is_human) {
        print_json(json_of(*report, first, second));
    } else if (!request.quiet) {
        fmt::print("{}\n", sentence(*report));
    }
    return exit_status(report->verdict);
}

}  // namespace

int compare_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (operands.size() != 2) return usage_error("Expecting two image file names");
    const auto format = parse_output_format(request.output_name);
    if (!format) return 1;
    confined_opener(Reach::chain);
    SourceOptions source = request.source;
    const auto first = open_image(operands[0], source);
    if (!first) return trouble;
    source.format = request.second_format;
    last_image_follows();
    const auto second = open_image(operands[1], source);
    if (!second) return trouble;
    return compare_images(request, *format, *first, *second);
}

}  // namespace qimg::cli
