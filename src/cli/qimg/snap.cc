// qimg snap: makes an overlay that a machine can write to, on a base that stays as it is.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/pin_name.hpp"
#include "cli/qimg/progress_bar.hpp"
#include "qimg/operations/create.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

enum Key : int { pin = long_only(0) };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true},
    {'s', "size", true},
    {'q', "quiet", false},
    {pin, "pin", true},
};

constexpr const char* help =
    "usage: qimg snap [OPTION]... BASE OVERLAY [SIZE]\n"
    "Makes OVERLAY, a qcow2 image that reads as BASE until it is written to. BASE is only read, and must "
    "stay\n"
    "as it is for as long as there are overlays of it.\n"
    "\n"
    "  -s, --size [+]SIZE    the overlay's size; with +, by how much it is longer than BASE\n"
    "  -f, --format FORMAT   the format of BASE, instead of what its first bytes say\n"
    "      --pin none|tables|full  what OVERLAY records of BASE to notice a change there; full reads all of "
    "it\n"
    "  -q, --quiet           print nothing but errors\n";

}  // namespace

int snap_command(int argc, char** argv) {
    SnapOptions options;
    std::optional<std::string> size;
    bool quiet = false;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        switch (key) {
            case 'f':
                options.base_format = arguments.value();
                break;
            case 's':
                size = arguments.value();
                break;
            case 'q':
                quiet = true;
                break;
            case pin: {
                const auto mode = parse_pin_mode(arguments.value());
                if (!mode) return 1;
                options.pin = *mode;
                break;
            }
            default:
                return arguments.status();
        }
    }
    const auto operands = arguments.operands();
    if (operands.size() < 2) return usage_error("Expecting the base image and the name of the new overlay");
    if (operands.size() > 3) return usage_error(fmt::format("Unexpected argument: {}", operands[3]));
    if (operands.size() == 3 && size) return usage_error("The size must be specified only once");
    options.base = operands[0];
    options.overlay = operands[1];
    if (operands.size() == 3) size = operands[2];
    if (size) {
        const auto change = parse_size_change(*size);
        if (!change) {
            print_error(change.error());
            return 1;
        }
        options.size = *change;
    }
    ProgressBar progress({.quiet = quiet});
    const auto report = snap(options, command_opener(), progress);
    if (!report) {
        print_error(report.error());
        return 1;
    }
    if (!quiet) {
        fmt::print("{}: {}, on {} ({}), which must not be changed from now on\n", printable(options.overlay),
                   format_size(report->size), printable(report->backing_file), report->base_format);
    }
    return 0;
}

}  // namespace qimg::cli
