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
#include "cli/qimg/source_image.hpp"
#include "qimg/operations/pins.hpp"

namespace qimg::cli {

namespace {

enum Key : int { output = long_only(0), backing_chain, limits };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true},    {'U', "force-share"},
    {output, "output", true}, {backing_chain, "backing-chain"},
    {object, "object", true}, {image_opts, "image-opts"},
    {limits, "limits"},
};

constexpr const char* help =
    "usage: qimg info [OPTION]... IMAGE\n"
    "Tells the format, sizes, backing file and snapshots of a disk image.\n"
    "\n"
    "  -f, --format FORMAT       qcow2 or raw, instead of what the first bytes say\n"
    "      --output human|json   how to print it\n"
    "      --backing-chain       also tell about every image below this one\n"
    "      --limits              also tell how requests to the image are best laid out\n"
    "  -U, --force-share         look at an image that is in use\n"
    "      --image-opts          IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT       accepted; secrets are not used\n";

void print_all(const std::vector<ImageInfo>& images) {
    for (const ImageInfo& image : images) {
        if (&image != &images.front()) fmt::print("\n");
        print_info(image);
    }
}

// A chain whose images do not fit each other any more gives no disk that anybody knows.
void warn_of_changed_bases(const InfoOptions& options) {
    const auto pins = check_pins({options.path, options.open, false}, command_opener());
    if (!pins) return;  // what cannot be opened has no disk, either
    for (const PinReport& pin : *pins) {
        if (pin.state == PinState::changed) print_warning(describe_change(pin));
    }
}

}  // namespace

int info_command(int argc, char** argv) {
    SourceOptions source;
    InfoOptions options;
    std::string output_name = "human";
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        switch (key) {
            case output:
                output_name = arguments.value();
                break;
            case backing_chain:
                options.backing_chain = true;
                break;
            case limits:
                options.limits = true;
                break;
            default:
                if (const auto status = take_source_option(source, key, arguments)) return *status;
        }
    }
    const auto operands = arguments.operands();
    if (operands.size() != 1) return usage_error("Expecting one image file name");
    const auto format = parse_output_format(output_name);
    if (!format) return 1;

    const auto image = source_image(operands[0], source, Access::read_only);
    if (!image) return 1;
    options.path = image->path;
    options.open = image->open;
    options.users = image->open.locking == Locking::share && !is_drop_in();
    const auto images = info(options, command_opener());
    if (!images) return open_error(operands[0], *image, images.error());
    if (*format == OutputFormat::human) {
        print_all(*images);
    } else if (!options.backing_chain) {
        print_json(info_json(images->front()));
    } else {
        Json chain = Json::array();
        for (const ImageInfo& one : *images)
            chain.push_back(info_json(one));
        print_json(chain);
    }
    if (options.backing_chain && !is_drop_in()) warn_of_changed_bases(options);
    return 0;
}

}  // namespace qimg::cli
