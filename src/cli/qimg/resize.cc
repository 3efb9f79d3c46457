// qimg resize: makes a disk longer or shorter, in place.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/resize.hpp"

#include <fmt/core.h>

#include <cerrno>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/option_list.hpp"
#include "cli/qimg/preallocation_name.hpp"
#include "cli/qimg/progress_bar.hpp"
#include "cli/qimg/refusal.hpp"
#include "cli/qimg/source_image.hpp"

namespace qimg::cli {

namespace {

enum Key : int { preallocation = long_only(0), shrink, force };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true}, {'q', "quiet"},           {preallocation, "preallocation", true},
    {shrink, "shrink"},    {object, "object", true}, {image_opts, "image-opts"},
    {force, "force"},
};

constexpr const char* help =
    "usage: qimg resize [OPTION]... IMAGE [+|-]SIZE\n"
    "Makes the disk SIZE long, or longer (+) or shorter (-) by SIZE.\n"
    "\n"
    "  -f, --format FORMAT         qcow2 or raw, instead of what the first bytes say\n"
    "      --shrink                allow the disk to become shorter: what lies behind its new end is lost\n"
    "      --force                 also when other images stand on this one\n"
    "      --preallocation MODE    space for what is added: off, metadata, falloc or full\n"
    "  -q, --quiet                 print nothing but errors\n"
    "      --image-opts            IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT         accepted; secrets are not used\n";

struct Request {
    SourceOptions source;
    Preallocation preallocation = Preallocation::off;
    bool shrink = false;
    bool force = false;
    bool quiet = false;
};

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 'q':
            request.quiet = true;
            break;
        case preallocation: {
            const auto mode = preallocation_named(arguments.value());
            if (!mode) {
                print_errorf("Invalid preallocation mode '{}'", arguments.value());
                return 1;
            }
            request.preallocation = *mode;
            break;
        }
        case shrink:
            request.shrink = true;
            break;
        case force:
            request.force = true;
            break;
        default:
            return take_source_option(request.source, key, arguments);
    }
    return std::nullopt;
}

// What may not be done to a disk of `current` bytes, told on stderr.
bool is_allowed(const Request& request, const SizeChange& change, std::uint64_t current) {
    const auto size = change.apply(current);
    if (!size || *size == 0) {
        print_error("New image size must be positive");
        return false;
    }
    if (*size <= current && request.preallocation != Preallocation::off) {
        print_error("Preallocation can only be used for growing images");
        return false;
    }
    if (*size < current && !request.shrink) {
        print_error("Use the --shrink option to perform a shrink operation.");
        print_warning(
            "Shrinking an image will delete all data beyond the shrunken image's end. Before performing such "
            "an "
            "operation, make sure there is no important data there.");
        return false;
    }
    return true;
}

int resize_image(const std::string& name, const Request& request, const SizeChange& change) {
    const auto source = source_image(name, request.source, Access::read_write);
    if (!source) return 1;
    const auto current = size_if_writable(name, *source);
    if (!current || !is_allowed(request, change, *current)) return 1;

    const bool shortens = *change.apply(*current) < *current;
    if (shortens && !spares_dependants(source->path, "making it shorter", request.force)) return 1;
    ResizeOptions options;
    options.path = source->path;
    options.open = source->open;
    options.size = change;
    options.shrink = request.shrink;
    options.preallocation = request.preallocation;
    ProgressBar progress({.quiet = request.quiet});
    const auto report = resize(options, command_opener(), progress);
    if (!report) {
        print_error(report.error());
        return 1;
    }
    if (!request.quiet) fmt::print("Image resized.\n");
    return 0;
}

}  // namespace

int resize_command(int argc, char** argv) {
    // the size may look like an option ("-1M"), so it is taken off before options are looked for
    const bool asks_for_help = argc == 2 && !is_drop_in();
    if (argc < 3 && !asks_for_help) return usage_error("Not enough arguments");
    const char* const size_text = asks_for_help ? nullptr : argv[--argc];
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (size_text == nullptr) return usage_error("Not enough arguments");
    if (operands.size() != 1) return usage_error("Expecting image file name and size");

    const auto change = parse_size_change(size_text);
    if (!change) {
        print_error(option_size_error("size", size_text, change.error()));
        return 1;
    }
    return resize_image(operands[0], request, *change);
}

}  // namespace qimg::cli
