// qimg convert: copies a disk into a new image of any format.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/convert.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/cache_mode.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/create_options.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/option_list.hpp"
#include "cli/qimg/pin_name.hpp"
#include "cli/qimg/progress_bar.hpp"
#include "cli/qimg/refusal.hpp"
#include "cli/qimg/size_argument.hpp"
#include "cli/qimg/snapshot_choice.hpp"
#include "cli/qimg/source_image.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

enum Key : int {
    target_is_zero = long_only(0),
    target_image_opts,
    bitmaps,
    skip_broken_bitmaps,
    salvage,
    force,
    pin
};

constexpr OptionSpec option_specs[] = {
    {'f', "source-format", true},
    {'O', "target-format", true},
    {'B', "backing", true},
    {'F', "backing-format", true},
    {'o', "options", true},
    {'c', "compress"},
    {'l', "snapshot", true},
    {'n', "no-create"},
    {target_is_zero, "target-is-zero"},
    {'S', "sparse-size", true},
    {'m', "parallel", true},
    {'W', "oob"},
    {'C', "copy-range-offloading"},
    {'r', "rate-limit", true},
    {'t', "cache", true},
    {'T', "source-cache", true},
    {'U', "force-share"},
    {'p', "progress"},
    {'q', "quiet"},
    {image_opts, "image-opts"},
    {target_image_opts, "target-image-opts"},
    {object, "object", true},
    {bitmaps, "bitmaps"},
    {skip_broken_bitmaps, "skip-broken-bitmaps"},
    {salvage, "salvage"},
    {force, "force"},
    {pin, "pin", true},
};

constexpr const char* help =
    "usage: qimg convert [OPTION]... SOURCE... TARGET\n"
    "Copies what guests see of SOURCE into TARGET. Several sources become one disk, one behind the other.\n"
    "TARGET appears, and an older one is replaced, only when that has succeeded.\n"
    "\n"
    "  -f, --source-format FORMAT    qcow2, raw or vmdk, instead of what the first bytes say\n"
    "  -O, --target-format FORMAT    qcow2, raw or vmdk (default: raw)\n"
    "  -c, --compress                compress the target's clusters\n"
    "  -o, --options NAME=VALUE,...  properties of the target; -o help lists them; compression_level=N for "
    "-c:\n"
    "                                1 to 9 (zlib) or 19 (zstd), instead of the fast way\n"
    "  -B, --backing IMAGE           leave out what IMAGE has; the target becomes an overlay of it\n"
    "  -F, --backing-format FORMAT   the format of that image\n"
    "      --pin none|tables|full    what is recorded of that image to notice a change there\n"
    "  -l, --snapshot SNAPSHOT       copy the disk as it was then\n"
    "  -S, --sparse-size SIZE        zeroes at least this long become holes (default: 4k; 0: none)\n"
    "  -n, --no-create               write into a target that exists\n"
    "      --target-is-zero          with -n: it reads as zeroes already\n"
    "  -m, --parallel N              threads, 1 to 16 (default: as many as processors)\n"
    "      --bitmaps                 copy the bitmaps that record changes, too\n"
    "      --skip-broken-bitmaps     leave out those that a crash made useless\n"
    "  -r, --rate-limit SIZE         bytes a second at most\n"
    "  -p, --progress                show how far it is\n"
    "  -q, --quiet                   print nothing but errors\n"
    "  -U, --force-share             read images that are in use\n"
    "      --force                   also over what others stand on, an old data file, or with a wrong -F\n"
    "      --salvage                 zeroes instead of what cannot be read, with a warning\n"
    "      --image-opts              SOURCE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --target-image-opts       so is TARGET; needs -n\n"
    "  -t, -T CACHE, -C, -W          accepted; without effect\n"
    "      --object OBJECT           accepted; secrets are not used\n";

struct Request {
    SourceOptions source;
    ConvertOptions convert;
    std::string format = "raw";
    OptionList options;
    bool has_options = false;
    bool has_sparse_size = false;
    bool offload = false;
    bool target_image_opts = false;
    PinMode pin = default_pin();
    bool force = false;
    bool show_progress = false;
    bool quiet = false;
};

std::optional<int> parse_int(std::string_view text) {
    int number = 0;
    const auto [stopped, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || stopped != text.data() + text.size()) return std::nullopt;
    return number;
}

// Prints the error; a value that is an exit status, for take_option.
template <class... Args>
int refuse(fmt::format_string<Args...> format, Args&&... args) {
    print_errorf(format, std::forward<Args>(args)...);
    return 1;
}

std::optional<int> take_sparse_size(Request& request, const char* text) {
    constexpr std::uint64_t largest = 16 * MiB;
    const auto size = parse_size_argument("buffer size for sparse output", text);
    if (!size) return 1;
    if (*size % sector_bytes != 0 || *size > largest) {
        return refuse(
            "Invalid buffer size for sparse output specified. Valid sizes are multiples of {} up to {}. "
            "Select 0 "
            "to disable sparse detection (fully allocates output).",
            sector_bytes, largest);
    }
    request.convert.sparse_bytes = *size;
    request.convert.share_blocks = false;
    request.has_sparse_size = true;
    return std::nullopt;
}

std::optional<int> take_threads(Request& request, const char* text) {
    constexpr int threads_max = 16;
    const auto number = parse_int(text);
    if (!number || *number < 1 || *number > threads_max) {
        return refuse("Invalid number of coroutines. Allowed number of coroutines is between 1 and {}",
                      threads_max);
    }
    request.convert.threads = static_cast<unsigned>(*number);
    return std::nullopt;
}

// The compression level is not a property of the image, so it also goes with an image that is there.
std::optional<int> take_options(Request& request, const char* list) {
    if (!request.options.add(list)) return refuse("Invalid option list: {}", list);
    if (const auto level = request.options.take("compression_level")) {
        request.convert.compression_level = parse_int(level->c_str());
        if (!request.convert.compression_level) return refuse("Invalid compression level '{}'", *level);
    }
    request.has_options = !request.options.items().empty();
    return std::nullopt;
}

// What is accepted for the sake of scripts, or refused.
std::optional<int> take_other(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 'C':
            request.offload = true;
            break;
        case 'W':
            break;
        case 't':
            if (!is_cache_mode(arguments.value()))
                return refuse("Invalid cache option: {}", arguments.value());
            break;
        case 'T':
            if (!is_cache_mode(arguments.value()))
                return refuse("Invalid source cache option: {}", arguments.value());
            break;
        case salvage:
            request.convert.salvage = true;
            break;
        case force:
            request.force = true;
            break;
        case pin: {
            const auto mode = parse_pin_mode(arguments.value());
            if (!mode) return 1;
            request.pin = *mode;
            break;
        }
        default:
            return take_source_option(request.source, key, arguments);
    }
    return std::nullopt;
}

// Options about how the target is written.
std::optional<int> take_writing_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 'c':
            request.convert.compress = true;
            break;
        case 'n':
            request.convert.existing_target = true;
            break;
        case target_is_zero:
            request.convert.target_is_zero = true;
            break;
        case target_image_opts:
            request.target_image_opts = true;
            break;
        case bitmaps:
            request.convert.bitmaps = true;
            break;
        case skip_broken_bitmaps:
            request.convert.skip_broken_bitmaps = true;
            break;
        case 'S':
            return take_sparse_size(request, arguments.value());
        case 'm':
            return take_threads(request, arguments.value());
        case 'r': {
            const auto rate = parse_size_argument("rate limit", arguments.value());
            if (!rate) return 1;
            request.convert.rate_limit = *rate;
            break;
        }
        default:
            return take_other(request, key, arguments);
    }
    return std::nullopt;
}

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 'O':
            request.format = arguments.value();
            break;
        case 'B':
            request.options.set("backing_file", arguments.value());
            break;
        case 'F':
            request.options.set("backing_fmt", arguments.value());
            break;
        case 'o':
            return take_options(request, arguments.value());
        case 'l':
            request.convert.snapshot = parse_snapshot_choice(arguments.value());
            if (!request.convert.snapshot) return 1;
            break;
        case 'p':
            request.show_progress = true;
            break;
        case 'q':
            request.quiet = true;
            break;
        default:
            return take_writing_option(request, key, arguments);
    }
    return std::nullopt;
}

// Options that exclude each other; the exit status when they do.
std::optional<int> check_request(const Request& request) {
    if (request.target_image_opts && !request.convert.existing_target) {
        return refuse("--target-image-opts requires use of -n flag");
    }
    if (request.offload && request.has_sparse_size)
        return refuse("Cannot enable copy offloading when -S is used");
    if (request.offload && request.convert.compress)
        return refuse("Cannot enable copy offloading when -c is used");
    if (request.offload && request.convert.salvage)
        return refuse("Cannot use copy offloading in salvaging mode");
    if (request.convert.existing_target && request.has_options) {
        return refuse("-o has no effect when skipping image creation");
    }
    if (request.convert.target_is_zero && !request.convert.existing_target) {
        return refuse("--target-is-zero requires use of -n flag");
    }
    if (request.convert.skip_broken_bitmaps && !request.convert.bitmaps) {
        return refuse("Use of --skip-broken-bitmaps requires --bitmaps");
    }
    return std::nullopt;
}

// What would harm other images, told on stderr.
bool is_harmless(const Request& request) {
    const CreateOptions& target = request.convert.target;
    auto checked = protect_dependants(target.path, "writing over it", request.force);
    if (checked && target.qcow2.backing_file) {
        checked = protect_from_wrong_format(resolve_reference(target.path, *target.qcow2.backing_file),
                                            target.qcow2.backing_format.value_or(""), request.force);
    }
    if (checked && target.qcow2.data_file)
        checked = protect_data_file(resolve_reference(target.path, *target.qcow2.data_file), request.force);
    if (!checked) print_error(checked.error());
    return checked.has_value();
}

// The target from its name and the creation options; false with the error printed.
bool resolve_target(Request& request, const std::string& name) {
    SourceOptions how;
    how.format = request.target_image_opts ? std::nullopt : std::optional(request.format);
    how.image_opts = request.target_image_opts;
    const auto target = parse_source(name, how);
    if (!target) {
        print_error(target.error());
        return false;
    }
    if (const auto creatable = check_creatable(request.format); !creatable) {
        print_error(creatable.error());
        return false;
    }
    const auto options = CreationOptions::parse(request.format, request.options);
    if (!options) {
        print_error(options.error());
        return false;
    }
    const bool needs_format = options->value("backing_file") && !request.convert.existing_target;
    if (needs_format && !options->value("backing_fmt")) {
        print_error("Use of backing file requires explicit backing format");
        return false;
    }
    auto resolved = options->resolve(target->path);
    if (!resolved) {
        print_error(resolved.error(),
                    fmt::format("{}: error while converting {}", printable(name), request.format));
        return false;
    }
    resolved->size.reset();  // it is that of the sources
    resolved->replace_data_file = true;
    resolved->pin = request.pin;
    if (request.target_image_opts && target->open.format) resolved->format = *target->open.format;
    request.convert.target = std::move(*resolved);
    return is_harmless(request);
}

int convert_images(Request& request, std::vector<std::string> names) {
    if (names.size() < 2) return refuse("Must specify image file name");
    if (request.convert.snapshot && names.size() > 2)
        return refuse("No support for concatenating multiple snapshot");
    if (const auto status = check_request(request)) return *status;
    const std::string target = names.back();
    names.pop_back();
    const bool has_backing = std::any_of(request.options.items().begin(), request.options.items().end(),
                                         [](const auto& item) { return item.name == "backing_file"; });
    if (names.size() > 1 && has_backing) {
        return refuse(
            "Having a backing file for the target makes no sense when concatenating multiple input images");
    }
    for (const std::string& name : names) {
        auto source = source_image(name, request.source, Access::read_only);
        if (!source) return 1;
        request.convert.sources.push_back({source->path, source->open});
    }
    if (!resolve_target(request, target)) return 1;
    if (!request.quiet) request.convert.on_warning = [](const std::string& text) { print_warning(text); };
    ProgressBar progress({.asked = request.show_progress && !request.quiet, .quiet = request.quiet});
    const auto report = convert(request.convert, command_opener(), progress);
    if (!report) {
        print_error(report.error());
        return 1;
    }
    for (const std::string& bitmap : report->skipped_bitmaps)
        print_warning(fmt::format("Skipping inconsistent bitmap '{}'", printable(bitmap)));
    return 0;
}

}  // namespace

int convert_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (!request.options.wants_help()) return convert_images(request, operands);
    if (const auto creatable = check_creatable(request.format); !creatable) {
        print_error(creatable.error());
        return 1;
    }
    print_creation_help(request.format, operands.size() >= 2);
    return 0;
}

}  // namespace qimg::cli
