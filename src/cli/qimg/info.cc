// qimg info: prints what an image is.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/info.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/info_text.hpp"
#include "cli/qimg/json_text.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/output_format.hpp"
#include "cli/qimg/size_argument.hpp"
#include "cli/qimg/source_image.hpp"
#include "cli/qimg/verdict_text.hpp"
#include "qimg/operations/expand.hpp"
#include "qimg/operations/inspect.hpp"
#include "qimg/operations/pins.hpp"

namespace qimg::cli {

namespace {

enum Key : int { output = long_only(0), backing_chain, limits, untrusted, max_size };
enum Status : int { told = 0, failed = 1, unsafe = 4 };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true},        {'U', "force-share"},
    {output, "output", true},     {backing_chain, "backing-chain"},
    {object, "object", true},     {image_opts, "image-opts"},
    {limits, "limits"},           {untrusted, "untrusted"},
    {max_size, "max-size", true},
};

constexpr const char* help =
    "usage: qimg info [OPTION]... IMAGE\n"
    "Tells the format, sizes, backing file and snapshots of a disk image.\n"
    "\n"
    "  -f, --format FORMAT       qcow2, raw or vmdk, instead of what the first bytes say\n"
    "      --output human|json   how to print it\n"
    "      --backing-chain       also tell about every image below this one\n"
    "      --limits              also tell how requests to the image are best laid out\n"
    "      --untrusted           tell whether an image from a stranger may be used, and why not\n"
    "      --max-size SIZE       with --untrusted: no larger disk (default: 16T)\n"
    "  -U, --force-share         look at an image that is in use\n"
    "      --image-opts          IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT       accepted; secrets are not used\n"
    "\n"
    "Exit status: 0, 1 not opened or read; with --untrusted: 0 safe, 4 unsafe\n";

void print_all(const std::vector<ImageInfo>& images) {
    for (const ImageInfo& image : images) {
        if (&image != &images.front()) fmt::print("\n");
        print_info(image);
    }
}

// A chain whose images do not fit each other any more gives no disk that anybody knows.
void warn_of_changed_bases(const InfoOptions& options) {
    last_image_follows();
    const auto pins = check_pins({options.path, options.open, false}, command_opener());
    if (!pins) return;  // what cannot be opened has no disk, either
    for (const PinReport& pin : *pins) {
        if (pin.state == PinState::changed) print_warning(describe_change(pin));
    }
}

struct Request {
    SourceOptions source;
    std::string output_name = "human";
    InfoOptions info;
    bool untrusted = false;
    std::optional<std::uint64_t> max_size;
};

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case output:
            request.output_name = arguments.value();
            break;
        case backing_chain:
            request.info.backing_chain = true;
            break;
        case limits:
            request.info.limits = true;
            break;
        case untrusted:
            request.untrusted = true;
            break;
        case max_size:
            request.max_size = parse_size_argument("maximal size", arguments.value());
            if (!request.max_size) return failed;
            break;
        default:
            return take_source_option(request.source, key, arguments);
    }
    return std::nullopt;
}

int tell(const Request& request, OutputFormat format, const std::string& name, const ImageLocation& image) {
    const auto images = info(request.info, command_opener());
    if (!images) return open_error(name, image, images.error());
    if (format == OutputFormat::human) {
        print_all(*images);
    } else if (!request.info.backing_chain) {
        print_json(info_json(images->front()));
    } else {
        Json chain = Json::array();
        for (const ImageInfo& one : *images)
            chain.push_back(info_json(one));
        print_json(chain);
    }
    if (request.info.backing_chain && !is_drop_in()) warn_of_changed_bases(request.info);
    return told;
}

int judge(const Request& request, OutputFormat format, const std::string& name, const ImageLocation& image) {
    if (image.open.assembly) return usage_error("--untrusted takes the name of a file");
    InspectOptions options;
    options.path = image.path;
    options.format = image.open.format;
    options.locking = image.open.locking;
    options.virtual_bytes_max = request.max_size.value_or(options.virtual_bytes_max);
    const auto verdict = inspect_untrusted(options, command_opener());
    if (!verdict) return open_error(name, image, verdict.error());
    if (format == OutputFormat::human) {
        print_verdict(image.path, *verdict);
    } else {
        print_json(verdict_json(image.path, *verdict));
    }
    return verdict->is_safe() ? told : unsafe;
}

}  // namespace

int info_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (operands.size() != 1) return usage_error("Expecting one image file name");
    if (request.untrusted && (request.info.backing_chain || request.info.limits))
        return usage_error("--untrusted looks at one file only: without --backing-chain and --limits");
    if (request.max_size && !request.untrusted) return usage_error("--max-size needs --untrusted");
    const auto format = parse_output_format(request.output_name);
    if (!format) return failed;

    const auto image = source_image(operands[0], request.source, Access::read_only);
    if (!image) return failed;
    if (!is_drop_in() && is_expand_unfinished(image->path)) {
        print_warning(
            fmt::format("an interrupted expand has to be finished before '{}' is used: qimg expand {}",
                        operands[0], operands[0]));
    }
    confined_opener(request.info.backing_chain ? Reach::chain : Reach::file);
    request.info.path = image->path;
    request.info.open = image->open;
    request.info.users = image->open.locking == Locking::share && !is_drop_in();
    return request.untrusted ? judge(request, *format, operands[0], *image)
                             : tell(request, *format, operands[0], *image);
}

}  // namespace qimg::cli
