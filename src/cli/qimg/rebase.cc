// qimg rebase: puts an overlay on another backing image.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/rebase.hpp"

#include <filesystem>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/cache_mode.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/create_options.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/pin_name.hpp"
#include "cli/qimg/progress_bar.hpp"
#include "cli/qimg/refusal.hpp"
#include "cli/qimg/source_image.hpp"
#include "qimg/operations/info.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

enum Key : int { force = long_only(0), pin };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true},    {'t', "cache", true},
    {'b', "backing", true},   {'B', "backing-format", true},
    {'F', nullptr, true},     {'T', "backing-cache", true},
    {'u', "backing-unsafe"},  {'c', "compress"},
    {'U', "force-share"},     {'p', "progress"},
    {'q', "quiet"},           {image_opts, "image-opts"},
    {object, "object", true}, {force, "force"},
    {pin, "pin", true},
};

constexpr const char* help =
    "usage: qimg rebase [OPTION]... -b BACKING IMAGE\n"
    "Puts IMAGE on another backing image. What guests see stays the same: where BACKING has something else "
    "than\n"
    "the old one, IMAGE gets a copy of its own first.\n"
    "\n"
    "  -b, --backing BACKING        the new backing image, as IMAGE will record it; \"\" for none\n"
    "  -F, -B, --backing-format FORMAT\n"
    "                               its format, recorded too\n"
    "  -u, --backing-unsafe         change what is recorded and nothing else, without comparing old and new\n"
    "  -c, --compress               compress what is copied\n"
    "      --force                  also when BACKING is a qcow2 image that is said to be raw, and when "
    "others\n"
    "                               stand on IMAGE\n"
    "      --pin none|tables|full   what is recorded of BACKING to notice a change there\n"
    "  -f, --format FORMAT          IMAGE's own format, instead of what its first bytes say\n"
    "  -p, --progress               show how far it is\n"
    "  -q, --quiet                  print nothing but errors\n"
    "  -U, --force-share            read BACKING though it is in use\n"
    "  -t, --cache CACHE, -T, --backing-cache CACHE\n"
    "                               accepted; without effect\n"
    "      --image-opts             IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT          accepted; secrets are not used\n";

struct Request {
    SourceOptions source;
    std::optional<std::string> backing;
    std::optional<std::string> backing_format;
    std::string cache = "writeback";
    std::string backing_cache = "writeback";
    bool share_backing = false;
    bool unsafe = false;
    bool compress = false;
    bool force = false;
    PinMode pin = default_pin();
    ProgressBar::Wish progress;
};

// The options that say what the overlay shall stand on.
std::optional<int> take_backing_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 'b':
            request.backing = arguments.value();
            break;
        case 'B':
        case 'F':
            request.backing_format = arguments.value();
            break;
        case 'T':
            request.backing_cache = arguments.value();
            break;
        case 'u':
            request.unsafe = true;
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
        case 'U':
            request.share_backing = true;
            break;
        default:
            return take_source_option(request.source, key, arguments);
    }
    return std::nullopt;
}

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 'c':
            request.compress = true;
            break;
        case 'p':
            request.progress.asked = true;
            break;
        case 'q':
            request.progress.quiet = true;
            break;
        case 't':
            request.cache = arguments.value();
            break;
        default:
            return take_backing_option(request, key, arguments);
    }
    return std::nullopt;
}

// The new backing image's name counts from the overlay's folder. Empty, with the error printed, when it cannot
// be understood.
std::optional<NewBacking> new_backing(const Request& request, const std::string& overlay) {
    NewBacking backing{*request.backing, request.backing_format, {}};
    const std::string path = resolve_reference(overlay, *request.backing);
    if (request.backing_format) {
        const auto right = protect_from_wrong_format(path, *request.backing_format, request.force);
        if (!right) {
            print_error(right.error());
            return std::nullopt;
        }
    }
    SourceOptions how;
    how.format = request.backing_format;
    const auto location = parse_source(path, how);
    if (!location && request.unsafe) return backing;
    if (!location) {
        print_error(location.error(),
                    fmt::format("Could not open new backing file '{}'", printable(*request.backing)));
        return std::nullopt;
    }
    backing.location = *location;
    if (request.share_backing) backing.location.open.locking = Locking::share;
    return backing;
}

// What can be told from the command line alone.
bool is_valid(const Request& request) {
    if (!is_cache_mode(request.cache)) {
        print_errorf("Invalid cache option: {}", request.cache);
        return false;
    }
    if (!is_cache_mode(request.backing_cache)) {
        print_errorf("Invalid source cache option: {}", request.backing_cache);
        return false;
    }
    return true;
}

// How far the backing image goes from what the overlay names now.
enum class Move { nowhere, to_another_name, to_another_file };

Move move_of(const ImageLocation& overlay, const std::optional<NewBacking>& backing) {
    const auto images = info({overlay.path, overlay.open, false, false}, command_opener());
    if (!images) return Move::to_another_file;
    const ImageInfo& now = images->front();
    if (!now.backing_file && !backing) return Move::nowhere;
    if (!now.full_backing_file || !backing) return Move::to_another_file;
    std::error_code unknown;
    const std::string path = resolve_reference(overlay.path, backing->name);
    if (!std::filesystem::equivalent(*now.full_backing_file, path, unknown)) return Move::to_another_file;
    const bool is_same = now.backing_file == backing->name && now.backing_format == backing->format;
    return is_same ? Move::nowhere : Move::to_another_name;
}

int rebase_image(const std::string& name, const Request& request) {
    if (!is_valid(request)) return 1;
    auto source = source_image(name, request.source, Access::read_write);
    if (!source) return 1;
    if (request.unsafe) source->open.with_backing = false;
    if (!size_if_writable(name, *source)) return 1;
    if (request.backing_format) {
        const auto known = check_creatable(*request.backing_format);
        if (!known && known.error().kind == ErrorKind::not_found) {
            print_errorf("Invalid format name: '{}'", *request.backing_format);
            return 1;
        }
    }
    RebaseOptions options;
    options.path = source->path;
    options.open = source->open;
    options.unsafe = request.unsafe;
    options.compress = request.compress;
    options.pin = request.pin;
    ProgressBar progress(request.progress);
    if (request.backing && !request.backing->empty()) {
        options.backing = new_backing(request, source->path);
        if (!options.backing) return 1;
    }
    // With -u, what guests see of the overlay changes, unless only the name or the format does. Otherwise it never
    // does, but the tables do, which those that stand on the overlay may remember.
    constexpr const char* doing = "putting it on another image";
    const Move move = move_of(*source, options.backing);
    if (request.unsafe && move == Move::to_another_file &&
        !spares_dependants(source->path, doing, request.force))
        return 1;
    if (!request.unsafe && move != Move::nowhere)
        options.before_change = [&] { return protect_pins(source->path, doing, request.force); };
    const auto report = rebase(options, command_opener(), progress);
    if (report) return 0;
    print_error(without_open_prefix(*source, report.error()));
    return 1;
}

}  // namespace

int rebase_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (operands.size() != 1) return usage_error("Expecting one image file name");
    if (!request.backing && !request.unsafe) {
        return usage_error("Must specify backing file (-b) or use unsafe mode (-u)");
    }
    return rebase_image(operands[0], request);
}

}  // namespace qimg::cli
