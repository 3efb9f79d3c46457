// qimg snapshot: lists, makes, applies and deletes the snapshots inside an image.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/snapshot.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/info_text.hpp"
#include "cli/qimg/json_text.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/output_format.hpp"
#include "cli/qimg/refusal.hpp"
#include "cli/qimg/source_image.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

enum Key : int { output = long_only(0), force };

constexpr OptionSpec option_specs[] = {
    {'l', "list"},
    {'c', "create", true},
    {'a', "apply", true},
    {'d', "delete", true},
    {'f', "format", true},
    {'U', "force-share"},
    {'q', "quiet"},
    {output, "output", true},
    {force, "force"},
    {object, "object", true},
    {image_opts, "image-opts"},
};

constexpr const char* help =
    "usage: qimg snapshot [OPTION]... IMAGE\n"
    "Snapshots inside a qcow2 image: states that its disk can go back to.\n"
    "\n"
    "  -l, --list            list them (the default)\n"
    "  -c, --create NAME     make one of the disk as it is now\n"
    "  -a, --apply SNAPSHOT  make the disk what it was; SNAPSHOT is a name or an id\n"
    "  -d, --delete SNAPSHOT\n"
    "  -f, --format FORMAT   qcow2, instead of what the first bytes say\n"
    "      --output human|json  how to print the list\n"
    "      --force           go back although other images stand on this one\n"
    "  -U, --force-share     list those of an image that is in use\n"
    "  -q, --quiet           accepted: only errors are printed anyway\n"
    "      --image-opts      IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT   accepted; secrets are not used\n";

struct Request {
    SourceOptions source;
    int action = 0;  // the key of the option that names it
    std::string name;
    std::string output_name = "human";
    bool force = false;
};

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 'l':
        case 'c':
        case 'a':
        case 'd':
            if (request.action != 0) return usage_error("Cannot mix '-l', '-a', '-c', '-d'");
            request.action = key;
            if (key != 'l') request.name = arguments.value();
            break;
        case 'q':
            break;
        case force:
            request.force = true;
            break;
        case output:
            request.output_name = arguments.value();
            break;
        default:
            return take_source_option(request.source, key, arguments);
    }
    return std::nullopt;
}

struct Action {
    int key;
    std::string_view verb;
    Result<void> (*run)(const SnapshotOptions& options, Opener& opener);
    const char* not_found;    // QEMU's words for a snapshot that is not there
    const char* unsupported;  // and for a format that has none
};

constexpr Action actions[] = {
    {'c', "create", snapshot_create, "", "-95 (Operation not supported)"},
    {'a', "apply", snapshot_apply, "Failed to load snapshot: No such file or directory",
     "Block driver does not support snapshots"},
    {'d', "delete", snapshot_delete, "snapshot not found", "snapshot not found"},
};

// QEMU tells about some failures by their errno alone; what else is known becomes a detail.
Error in_qemu_words(const Action& action, const Error& error) {
    const auto replaced = [&](std::string text) {
        return Error{error.kind, std::move(text), 0, error.message};
    };
    if (error.kind == ErrorKind::not_found) return replaced(action.not_found);
    const bool tells_errno = error.system_errno != 0 && action.key != 'd';
    if (error.kind == ErrorKind::unsupported && !tells_errno) return replaced(action.unsupported);
    if (!tells_errno) return error;
    const char* const reason = std::strerror(error.system_errno);
    if (action.key == 'c') return replaced(fmt::format("-{} ({})", error.system_errno, reason));
    return replaced(fmt::format("Failed to load snapshot: {}", reason));
}

// Changes an image that can be opened.
int act(int key, const SnapshotOptions& options) {
    const auto action = std::find_if(std::begin(actions), std::end(actions),
                                     [&](const Action& one) { return one.key == key; });
    const auto done = action->run(options, command_opener());
    if (done) return 0;
    const Error error = in_qemu_words(*action, done.error());
    const bool has_cause = done.error().kind == ErrorKind::corrupt && done.error().system_errno != 0;
    if (is_drop_in() && key == 'a' && has_cause) print_error(done.error().message);
    print_error(error, fmt::format("Could not {} snapshot '{}'", action->verb, printable(options.name)));
    return 1;
}

int list(const std::string& name, const ImageLocation& source, const SnapshotOptions& options,
         OutputFormat format) {
    const auto snapshots = snapshot_list(options, command_opener());
    if (!snapshots) return open_error(name, source, snapshots.error());
    if (format == OutputFormat::json) {
        print_json(snapshots_json(*snapshots));
    } else if (!snapshots->empty()) {
        print_snapshots(*snapshots);
    }
    return 0;
}

}  // namespace

int snapshot_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (operands.size() != 1) return usage_error("Expecting one image file name");
    const auto format = parse_output_format(request.output_name);
    if (!format) return 1;
    const bool lists = request.action == 0 || request.action == 'l';
    const auto source =
        source_image(operands[0], request.source, lists ? Access::read_only : Access::read_write);
    if (!source) return 1;

    SnapshotOptions options;
    options.path = source->path;
    options.open = source->open;
    options.name = request.name;
    if (lists) return list(operands[0], *source, options, *format);
    if (request.source.force_share) {
        print_errorf("Could not open '{}': force-share=on can only be used with read-only images",
                     printable(operands[0]));
        return 1;
    }
    if (!size_if_writable(operands[0], *source)) return 1;
    const bool changes_disk = request.action == 'a';
    if (changes_disk && !spares_dependants(source->path, "going back to a snapshot", request.force)) return 1;
    return act(request.action, options);
}

}  // namespace qimg::cli
