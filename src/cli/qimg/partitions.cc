// qimg partitions: prints the partitions of a disk, what is in them, and the space between them.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/partitions.hpp"

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/json_text.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/output_format.hpp"
#include "cli/qimg/partitions_text.hpp"
#include "cli/qimg/source_image.hpp"

namespace qimg::cli {

namespace {

enum Key : int { output = long_only(0) };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true},    {'U', "force-share"},       {output, "output", true},
    {object, "object", true}, {image_opts, "image-opts"},
};

constexpr const char* help =
    "usage: qimg partitions [OPTION]... IMAGE\n"
    "Shows the partitions of the disk, the file systems in them, and the free space between them.\n"
    "\n"
    "  -f, --format FORMAT         qcow2, raw or vmdk, instead of what the first bytes say\n"
    "      --output human|json     a table, or an object\n"
    "  -U, --force-share           look at an image that is in use\n"
    "      --image-opts            IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT         accepted; secrets are not used\n";

}  // namespace

int partitions_command(int argc, char** argv) {
    SourceOptions source;
    std::string output_name = "human";
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (key == output) {
            output_name = arguments.value();
        } else if (const auto status = take_source_option(source, key, arguments)) {
            return *status;
        }
    }
    const auto operands = arguments.operands();
    if (operands.size() != 1) return usage_error("Expecting one image file name");
    const auto format = parse_output_format(output_name);
    if (!format) return 1;
    const auto image = source_image(operands[0], source, Access::read_only);
    if (!image) return 1;

    confined_opener(Reach::chain);
    last_image_follows();
    const auto report = partitions({image->path, image->open}, command_opener());
    if (!report) return open_error(operands[0], *image, report.error());
    if (*format == OutputFormat::json) {
        print_partitions_json(*report);
    } else {
        print_partitions(*report);
    }
    return 0;
}

}  // namespace qimg::cli
