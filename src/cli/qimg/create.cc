// qimg create: makes a new image, empty or on top of a backing file.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/create.hpp"

#include <fmt/core.h>

#include <cerrno>
#include <cstdio>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/create_options.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/pin_name.hpp"
#include "cli/qimg/progress_bar.hpp"
#include "cli/qimg/refusal.hpp"
#include "cli/qimg/size_argument.hpp"
#include "cli/qimg/source_image.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

enum Key : int { force = long_only(0), pin };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true},
    {'o', "options", true},
    {'b', "backing", true},
    {'F', "backing-format", true},
    {'u', "backing-unsafe", false},
    {'q', "quiet", false},
    {object, "object", true},
    {force, "force"},
    {pin, "pin", true},
};

constexpr const char* help =
    "usage: qimg create [OPTION]... FILE [SIZE]\n"
    "Makes a new image. FILE appears, and an older one is replaced, only when that has succeeded.\n"
    "\n"
    "  -f, --format FORMAT           qcow2, raw or vmdk (default: raw)\n"
    "  -b, --backing IMAGE           what the new image does not hold itself is read from here\n"
    "  -F, --backing-format FORMAT   the format of that image\n"
    "  -u, --backing-unsafe          do not look whether it can be opened; SIZE is needed then\n"
    "  -o, --options NAME=VALUE,...  properties of the new image; -o help lists them\n"
    "      --force                   also over what others stand on, an old data file, or with a wrong -F\n"
    "      --pin none|tables|full    what is recorded of the backing image to notice a change there\n"
    "  -q, --quiet                   print nothing but errors\n"
    "      --object OBJECT           accepted; secrets are not used\n";

struct Request {
    std::string format = "raw";
    OptionList options;
    std::optional<std::string> backing;
    std::optional<std::string> backing_format;
    PinMode pin = default_pin();
    std::vector<std::string> secrets;  // their IDs
    bool unsafe = false;
    bool force = false;
    bool quiet = false;
    std::string path;
    std::optional<std::uint64_t> size;
};

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 'f':
            request.format = arguments.value();
            break;
        case 'o':
            if (!request.options.add(arguments.value())) {
                print_errorf("Invalid option list: {}", arguments.value());
                return 1;
            }
            break;
        case 'b':
            request.backing = arguments.value();
            break;
        case 'F':
            request.backing_format = arguments.value();
            break;
        case 'u':
            request.unsafe = true;
            break;
        case 'q':
            request.quiet = true;
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
        case object:
            if (const auto id = parse_object(arguments.value())) {
                request.secrets.push_back(*id);
                break;
            }
            return 1;
        default:
            return arguments.status();
    }
    return std::nullopt;
}

constexpr const char* missing_backing_format = "Backing file specified without backing format";

std::unexpected<Error> refuse(std::string text) {
    return fail(ErrorKind::invalid_argument, std::move(text));
}

// What kind of overlay the options ask for, as far as names alone tell.
Result<void> check_backing_names(const std::string& path, const CreationOptions& options) {
    const auto backing = options.value("backing_file");
    if (!backing) return {};
    if (backing->empty()) return refuse("Expected backing file name, got empty string");
    if (*backing == path) {
        return refuse("Error: Trying to create an image with the same filename as the backing file");
    }
    return {};
}

// Opens the backing file to learn that it is there and how long it is.
Result<std::uint64_t> backing_size(const Request& request, const CreationOptions& options) {
    SourceOptions how;
    how.format = options.value("backing_fmt");
    const std::string name = resolve_reference(request.path, *options.value("backing_file"));
    auto source = parse_source(name, how);
    if (!source) return std::unexpected<Error>(source.error());
    source->open.locking = Locking::share;  // a running machine's disk gets an overlay, too
    const auto image = Image::open(source->path, source->open, command_opener());
    if (!image) {
        Error error = without_open_prefix(*source, image.error());
        error.message += "\nCould not open backing image.";
        return std::unexpected<Error>(std::move(error));
    }
    if (!how.format) {
        return fail_detailed(ErrorKind::invalid_argument, missing_backing_format,
                             fmt::format("Detected format of {}.", (*image)->format_name()));
    }
    const auto right = protect_from_wrong_format(source->path, *how.format, request.force);
    if (!right) return std::unexpected<Error>(right.error());
    return (*image)->size();
}

// Everything that is looked at before the options are echoed.
Result<CreationOptions> prepare(const Request& request) {
    if (auto creatable = check_creatable(request.format); !creatable) {
        return std::unexpected<Error>(creatable.error());
    }
    if (auto source = parse_source(request.path, {}); !source) return std::unexpected<Error>(source.error());
    if (request.format != "qcow2" && (request.backing || request.backing_format)) {
        return refuse(fmt::format("Backing file {}not supported for file format '{}'",
                                  request.backing ? "" : "format ", request.format));
    }
    OptionList list = request.options;
    if (request.backing) list.set("backing_file", *request.backing);
    if (request.backing_format) list.set("backing_fmt", *request.backing_format);
    auto options = CreationOptions::parse(request.format, list);
    if (!options) return options;
    if (request.size && options->size()) return refuse("The image size must be specified only once");
    if (request.size) options->set_size(*request.size);
    if (auto named = check_backing_names(request.path, *options); !named) {
        return std::unexpected<Error>(named.error());
    }
    const bool has_backing = options->value("backing_file").has_value();
    if (has_backing && !request.unsafe) {
        const auto size = backing_size(request, *options);
        if (!size) return std::unexpected<Error>(size.error());
        if (!options->size()) options->set_size(*size);
    } else if (has_backing && !options->value("backing_fmt")) {
        return refuse(missing_backing_format);
    }
    if (!options->size()) return refuse("Image creation needs a size parameter");
    const auto harmless = protect_dependants(request.path, "creating over it", request.force);
    if (!harmless) return std::unexpected<Error>(harmless.error());
    return options;
}

// The hint of this one error is a line of its own in QEMU, and without an end.
void print_refusal(const Error& error, const std::string& context) {
    if (is_drop_in() && error.message == missing_backing_format && !error.detail.empty()) {
        fmt::print(stderr, "{}: {}: {}\n{}", program_name(), context, error.message, error.detail);
    } else {
        print_error(error, context);
    }
}

int create_image(const Request& request) {
    const std::string context = printable(request.path);
    const auto chosen = prepare(request);
    if (!chosen) {
        print_refusal(chosen.error(), context);
        return 1;
    }
    if (!request.quiet) {
        fmt::print("{}\n", chosen->formatting_line(request.path));
        std::fflush(stdout);  // an error about these options comes after them, also in a common pipe
    }
    if (const auto known = chosen->check_secret(request.secrets); !known) {
        print_error(known.error(), context);
        return 1;
    }
    auto options = chosen->resolve(parse_source(request.path, {})->path);
    if (!options) {
        print_error(options.error(), context);
        return 1;
    }
    if (options->qcow2.data_file) {
        const auto harmless =
            protect_data_file(resolve_reference(options->path, *options->qcow2.data_file), request.force);
        if (!harmless) {
            print_error(harmless.error(), context);
            return 1;
        }
        options->replace_data_file = true;
    }
    options->check_backing = false;  // has been opened above
    options->pin = request.unsafe ? PinMode::none : request.pin;
    ProgressBar progress({.quiet = request.quiet});
    const auto report = create(*options, command_opener(), progress);
    if (!report) {
        // what the file system, or a limit of the process, does not allow is told with the file's name; qemu-img
        // takes it for a limit of the format
        const Error& error = report.error();
        const bool names_file = error.message.starts_with(options->path + ": ");
        if (error.system_errno == EFBIG && (is_drop_in() || !names_file)) {
            print_errorf("{}: The image size is too large for file format '{}'{}", context, request.format,
                         request.format == "qcow2" ? " (try using a larger cluster size)" : "");
        } else {
            print_error(error, context);
        }
        return 1;
    }
    return 0;
}

}  // namespace

int create_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (request.options.wants_help()) {
        const auto creatable = check_creatable(request.format);
        if (creatable) {
            print_creation_help(request.format, !operands.empty());
            return 0;
        }
        print_error(creatable.error());
        return 1;
    }
    if (operands.empty()) return usage_error("Expecting image file name");
    request.path = operands[0];
    if (operands.size() > 1) {
        request.size = parse_size_argument("image size", operands[1]);
        if (!request.size) return 1;
    }
    if (operands.size() > 2) return usage_error(fmt::format("Unexpected argument: {}", operands[2]));
    return create_image(request);
}

}  // namespace qimg::cli
