// qimg dd: copies blocks of a disk into a new image.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/dd.hpp"

#include <fmt/core.h>

#include <limits>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/create_options.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/refusal.hpp"
#include "cli/qimg/size_argument.hpp"
#include "cli/qimg/source_image.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

enum Key : int { force = long_only(0) };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true},    {'O', "output-format", true}, {'U', "force-share"},
    {object, "object", true}, {image_opts, "image-opts"},   {force, "force"},
};

constexpr const char* help =
    "usage: qimg dd [OPTION]... [bs=SIZE] [skip=BLOCKS] [count=BLOCKS] if=IMAGE of=TARGET\n"
    "Copies blocks of the disk in IMAGE into TARGET, a new image, with space for each of them.\n"
    "\n"
    "  bs=SIZE                     of a block (default: 512)\n"
    "  skip=BLOCKS                 leave out this many at the start\n"
    "  count=BLOCKS                end this many after the start, those that are left out included\n"
    "  -f, --format FORMAT         qcow2, raw or vmdk: IMAGE, instead of what its first bytes say\n"
    "  -O, --output-format FORMAT  qcow2, raw or vmdk: TARGET (default: raw)\n"
    "      --force                 also over a file that other images stand on\n"
    "  -U, --force-share           read an image that is in use\n"
    "      --image-opts            IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT         accepted; secrets are not used\n";

struct Request {
    SourceOptions source;
    std::optional<std::string> input;
    std::optional<std::string> output;
    bool force = false;
    DdOptions dd;
};

// Takes "name=value"; false with the error printed.
bool take_operand(Request& request, const std::string& operand) {
    const std::size_t equals = operand.find('=');
    const std::string name = operand.substr(0, equals);
    const std::string value = equals == operand.npos ? "" : operand.substr(equals + 1);
    if (equals != operand.npos && (name == "if" || name == "of")) {
        (name == "if" ? request.input : request.output) = value;
        return true;
    }
    std::optional<std::uint64_t> number;
    if (equals != operand.npos && name == "bs") {
        number = parse_size_argument("bs", value, {1, std::numeric_limits<std::int32_t>::max()});
        request.dd.block_bytes = number.value_or(1);
    } else if (equals != operand.npos && name == "count") {
        number = request.dd.count = parse_size_argument("count", value);
    } else if (equals != operand.npos && name == "skip") {
        number = parse_size_argument("skip", value);
        request.dd.skip = number.value_or(0);
    } else {
        print_errorf("unrecognized operand {}", printable(name));
    }
    return number.has_value();
}

// The new image's name and format; false with the error printed.
bool resolve_target(Request& request) {
    const auto creatable = check_creatable(request.dd.format);
    if (!creatable) {
        print_error(creatable.error().kind == ErrorKind::not_found ? "Unknown file format"
                                                                   : creatable.error().message);
        return false;
    }
    request.dd.path = *request.output;
    if (request.output->empty()) return true;  // creating it tells what is wrong
    const auto target = parse_source(*request.output, {});
    if (!target) {
        print_error(target.error());
        return false;
    }
    request.dd.path = target->path;
    return spares_dependants(target->path, "writing over it", request.force);
}

}  // namespace

int dd_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (key == 'O') {
            request.dd.format = arguments.value();
        } else if (key == force) {
            request.force = true;
        } else if (const auto status = take_source_option(request.source, key, arguments)) {
            return *status;
        }
    }
    for (const std::string& operand : arguments.operands()) {
        if (!take_operand(request, operand)) return 1;
    }
    if (!request.input || !request.output) {
        print_error("Must specify both input and output files");
        return 1;
    }
    const auto source = source_image(*request.input, request.source, Access::read_only);
    if (!source) return 1;
    const auto image = Image::open(source->path, source->open, command_opener());
    if (!image) return open_error(*request.input, *source, image.error());
    if (!resolve_target(request)) return 1;
    request.dd.source = *source;
    const auto report = dd(request.dd, command_opener());
    if (!report) {
        print_error(report.error());
        return 1;
    }
    if (report->skipped_past_end) {
        print_errorf("{}: cannot skip to specified offset", printable(*request.input));
    }
    return 0;
}

}  // namespace qimg::cli
