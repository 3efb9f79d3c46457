// qimg bitmap: makes, removes, clears and merges the bitmaps of an image.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/bitmap.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/size_argument.hpp"
#include "cli/qimg/source_image.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

enum Key : int { add = long_only(0), remove, remove_all, clear, enable, disable, merge };

constexpr OptionSpec option_specs[] = {
    {add, "add"},
    {remove, "remove"},
    {remove_all, "remove-all"},
    {clear, "clear"},
    {enable, "enable"},
    {disable, "disable"},
    {merge, "merge", true},
    {'g', "granularity", true},
    {'b', "source-file", true},
    {'F', "source-format", true},
    {'f', "format", true},
    {object, "object", true},
    {image_opts, "image-opts"},
};

constexpr const char* help =
    "usage: qimg bitmap OPTION... IMAGE BITMAP\n"
    "Bitmaps in a qcow2 image record which parts of its disk change. The actions are done in this order:\n"
    "\n"
    "      --add                   make one; it records from now on\n"
    "      --remove                delete it\n"
    "      --remove-all            delete every bitmap; BITMAP is not named\n"
    "      --clear                 forget what it has recorded\n"
    "      --enable, --disable     record from now on, or no more\n"
    "      --merge SOURCE          add what the bitmap SOURCE has recorded\n"
    "\n"
    "  -g, --granularity SIZE      bytes of disk that a bit of the new one stands for\n"
    "  -b, --source-file IMAGE     the image that SOURCE is in, when it is another one\n"
    "  -F, --source-format FORMAT  its format, instead of what the first bytes say\n"
    "  -f, --format FORMAT         qcow2 or raw, instead of what the first bytes say\n"
    "      --image-opts            IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT         accepted; secrets are not used\n";

struct Request {
    SourceOptions image;
    std::vector<BitmapStep> steps;
    std::uint64_t granularity_bytes = 0;
    std::optional<std::string> source;
    SourceOptions source_options;

    bool does(BitmapAction action) const {
        return std::ranges::any_of(steps, [&](const BitmapStep& step) { return step.action == action; });
    }
};

std::optional<BitmapAction> action_of(int key) {
    switch (key) {
        case add:
            return BitmapAction::add;
        case remove:
            return BitmapAction::remove;
        case remove_all:
            return BitmapAction::remove_all;
        case clear:
            return BitmapAction::clear;
        case enable:
            return BitmapAction::enable;
        case disable:
            return BitmapAction::disable;
        case merge:
            return BitmapAction::merge;
        default:
            return std::nullopt;
    }
}

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    if (const auto action = action_of(key)) {
        request.steps.push_back({*action, key == merge ? arguments.value() : ""});
        return std::nullopt;
    }
    switch (key) {
        case 'g': {
            const auto bytes = parse_size_argument("granularity", arguments.value());
            if (!bytes) return 1;
            request.granularity_bytes = *bytes;
            break;
        }
        case 'b':
            request.source = arguments.value();
            break;
        case 'F':
            request.source_options.format = arguments.value();
            break;
        default:
            return take_source_option(request.image, key, arguments);
    }
    return std::nullopt;
}

// What does not go together, told on stderr.
bool is_allowed(const Request& request, std::size_t operands) {
    const char* wrong = nullptr;
    const bool is_named = !std::ranges::all_of(
        request.steps, [](const BitmapStep& step) { return step.action == BitmapAction::remove_all; });
    if (request.steps.empty()) {
        wrong = "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge";
    } else if (request.granularity_bytes != 0 && !request.does(BitmapAction::add)) {
        wrong = "granularity only supported with --add";
    } else if (request.source_options.format && !request.source) {
        wrong = "-F only supported with -b";
    } else if (request.source && !request.does(BitmapAction::merge)) {
        wrong = "Merge bitmap source file only supported with --merge";
    } else if (operands != (is_named ? 2 : 1)) {
        wrong = is_named ? "Expecting filename and bitmap name" : "Expecting filename, and no bitmap name";
    }
    if (wrong != nullptr) print_error(wrong);
    return wrong == nullptr;
}

// qemu-img means the image by a name that it has made up itself.
Error as_told(Error error, const std::string& path) {
    constexpr std::string_view node = "#block100";
    if (!is_drop_in()) return error;
    for (const std::string before : {" persistent in '", "persistent bitmaps to "}) {
        const std::size_t at = error.message.find(before + printable(path));
        if (at != error.message.npos) error.message.replace(at + before.size(), printable(path).size(), node);
    }
    return error;
}

int change(const Request& request, const std::string& image_name, const std::string& bitmap_name) {
    const auto image = source_image(image_name, request.image, Access::read_write);
    if (!image) return 1;
    BitmapOptions options;
    options.path = image->path;
    options.open = image->open;
    options.open.with_backing = false;
    options.name = bitmap_name;
    options.steps = request.steps;
    options.granularity_bytes = request.granularity_bytes;
    if (!size_if_writable(image_name, {options.path, options.open})) return 1;
    std::optional<ImageLocation> source;
    if (request.source) {
        source = source_image(*request.source, request.source_options, Access::read_only);
        if (!source) return 1;
        options.source = BitmapSource{source->path, source->open};
    }
    const auto done = change_bitmaps(options, command_opener());
    if (done) return 0;
    const Error error = as_told(done.error(), options.path);
    return source ? open_error(*request.source, *source, error) : open_error(image_name, *image, error);
}

}  // namespace

int bitmap_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (!is_allowed(request, operands.size())) return 1;
    return change(request, operands[0], operands.size() > 1 ? operands[1] : "");
}

}  // namespace qimg::cli
