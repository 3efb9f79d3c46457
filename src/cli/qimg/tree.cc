// qimg tree: shows which overlays stand on which base.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/tree.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/json_text.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/output_format.hpp"
#include "cli/qimg/tree_picture.hpp"
#include "cli/qimg/tree_text.hpp"
#include "qimg/storage.hpp"

namespace qimg::cli {

namespace {

enum Key : int { output = long_only(0), svg };

constexpr OptionSpec option_specs[] = {
    {output, "output", true},
    {svg, "svg", true},
};

constexpr const char* help =
    "usage: qimg tree [OPTION]... [FOLDER|IMAGE]\n"
    "Shows which images stand on which: all of a folder (default: this one), or those below and above "
    "IMAGE.\n"
    "\n"
    "      --output human|json   how to print it\n"
    "      --svg FILE            write a picture instead\n"
    "\n"
    "FREES is what removing an image gives back, with everything that stands on it.\n";

int write_picture(const std::string& path, const std::string& picture) {
    const auto file = create_file(path);
    if (!file) {
        print_error(file.error());
        return 1;
    }
    auto written = (*file)->write(HostOffset(0), std::as_bytes(std::span(picture)));
    if (written) written = (*file)->commit();
    if (!written) print_error(written.error());
    return written ? 0 : 1;
}

}  // namespace

int tree_command(int argc, char** argv) {
    TreeOptions options;
    std::string output_name = "human";
    std::string picture;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        switch (key) {
            case output:
                output_name = arguments.value();
                break;
            case svg:
                picture = arguments.value();
                break;
            default:
                return arguments.status();
        }
    }
    const auto operands = arguments.operands();
    if (operands.size() > 1) return usage_error("Expecting one folder or image file name");
    if (!operands.empty()) options.path = operands[0];
    const auto format = parse_output_format(output_name);
    if (!format) return 1;
    const auto nodes = tree(options, command_opener());
    if (!nodes) {
        print_error(nodes.error());
        return 1;
    }
    if (!picture.empty()) return write_picture(picture, tree_picture(*nodes, options.path));
    if (*format == OutputFormat::json) {
        print_json(tree_json(*nodes));
    } else {
        print_tree(*nodes, options.path);
    }
    return 0;
}

}  // namespace qimg::cli
