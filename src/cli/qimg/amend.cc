// qimg amend: changes what an existing image is, in place.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/amend.hpp"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/cache_mode.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/create_options.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/progress_bar.hpp"
#include "cli/qimg/refusal.hpp"
#include "cli/qimg/source_image.hpp"

namespace qimg::cli {

namespace {

enum Key : int { force = long_only(0) };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true}, {'o', "options", true}, {'t', "cache", true},     {'p', "progress"},
    {'q', "quiet"},        {force, "force"},       {object, "object", true}, {image_opts, "image-opts"},
};

constexpr const char* help =
    "usage: qimg amend [OPTION]... -o NAME=VALUE,... IMAGE\n"
    "Changes options of an image that were chosen when it was made. Guests see the same disk afterwards.\n"
    "\n"
    "  -o, --options NAME=VALUE,...  what to change; -o help lists what can be changed\n"
    "  -f, --format FORMAT           qcow2, instead of what the first bytes say\n"
    "  -p, --progress                show how far it is\n"
    "  -q, --quiet                   print nothing but errors\n"
    "  -t, --cache CACHE             accepted; how QEMU would cache the image\n"
    "      --force                   make the disk shorter although other images stand on it\n"
    "      --image-opts              IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT           accepted; secrets are not used\n";

struct Request {
    SourceOptions source;
    std::optional<OptionList> options;
    std::string cache = "writeback";
    bool force = false;
    ProgressBar::Wish progress;
};

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 'o':
            if (!request.options) request.options.emplace();
            if (!request.options->add(arguments.value())) {
                print_errorf("Invalid option list: {}", arguments.value());
                return 1;
            }
            break;
        case 't':
            request.cache = arguments.value();
            break;
        case 'p':
            request.progress.asked = true;
            break;
        case 'q':
            request.progress.quiet = true;
            break;
        case force:
            request.force = true;
            break;
        default:
            return take_source_option(request.source, key, arguments);
    }
    return std::nullopt;
}

int show_help(const std::string& format) {
    if (const auto amendable = check_amendable(format); !amendable) {
        print_error(amendable.error());
        return 1;
    }
    print_amendment_help(format);
    return 0;
}

constexpr std::string_view zero_prefix = "Failed to turn zero into data clusters: ";

// QEMU tells what is wrong with a table on a line of its own, and then only that it was an error.
void print_failure(Error error) {
    if (is_drop_in() && error.system_errno != 0 && error.message.starts_with(zero_prefix)) {
        const std::string cause = error.message.substr(zero_prefix.size());
        if (error.kind == ErrorKind::corrupt && error.system_errno == EIO) {
            fmt::print(stderr,
                       "qcow2: Marking image as corrupt: {}; further corruption events will be suppressed\n",
                       cause);
        } else if (error.kind == ErrorKind::corrupt) {
            print_error(cause);
        }
        error.message = std::string(zero_prefix) + std::strerror(error.system_errno);
    }
    print_error(error);
    if (error.message == "Cannot amend the backing file") {
        fmt::print(stderr, "You can use '{} rebase' instead.\n", program_name());
    }
}

int amend_image(const std::string& name, const Request& request) {
    const auto source = source_image(name, request.source, Access::read_write);
    if (!source) return 1;
    const auto current = size_if_writable(name, *source);
    if (!current) return 1;
    std::string format;
    if (const auto image = Image::open(source->path, source->open, command_opener()))
        format = (*image)->format_name();
    if (request.options->wants_help()) return show_help(format);
    if (const auto amendable = check_amendable(format); !amendable) {
        print_error(amendable.error());
        return 1;
    }
    const auto choice = parse_amendment(*request.options);
    if (!choice) {
        print_error(choice.error());
        return 1;
    }
    const bool shortens = choice->size && *choice->size < *current;
    if (shortens && !spares_dependants(source->path, "making it shorter", request.force)) return 1;
    const AmendOptions options{source->path, source->open, choice->qcow2, choice->size};
    ProgressBar progress(request.progress);
    const auto done = amend(options, command_opener(), progress);
    if (!done) {
        print_failure(done.error());
        return 1;
    }
    progress.complete();
    return 0;
}

}  // namespace

int amend_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    if (!request.options) return usage_error("Must specify options (-o)");
    if (request.options->wants_help() && request.source.format) return show_help(*request.source.format);
    const auto operands = arguments.operands();
    if (operands.size() != 1) {
        print_error("Expecting one image file name");
        return 1;
    }
    if (!is_cache_mode(request.cache)) {
        print_errorf("Invalid cache option: {}", request.cache);
        return 1;
    }
    return amend_image(operands[0], request);
}

}  // namespace qimg::cli
