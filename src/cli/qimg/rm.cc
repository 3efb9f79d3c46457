// qimg rm: removes images that nothing stands on and nobody uses.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/refusal.hpp"
#include "qimg/operations/remove.hpp"

namespace qimg::cli {

namespace {

enum Key : int { data_file = long_only(0) };

constexpr OptionSpec option_specs[] = {
    {'f', "force"},
    {data_file, "data-file"},
};

constexpr const char* help =
    "usage: qimg rm [OPTION]... IMAGE...\n"
    "Removes images. Refused while another process uses one, or while other images in its folder stand on "
    "it.\n"
    "\n"
    "  -f, --force      also when others stand on it, which are lost then, and when it is write-protected\n"
    "      --data-file  also the external data file that an image names\n";

}  // namespace

int rm_command(int argc, char** argv) {
    RemoveOptions options;
    bool force = false;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        switch (key) {
            case 'f':
                force = options.write_protected = true;
                break;
            case data_file:
                options.data_file = true;
                break;
            default:
                return arguments.status();
        }
    }
    const auto operands = arguments.operands();
    if (operands.empty()) return usage_error("Expecting image file names");
    int status = 0;
    for (const std::string& name : operands) {
        options.path = name;
        auto done = protect_dependants(name, "removing it", force);
        if (done) {
            const auto report = remove_image(options, command_opener());
            if (!report) done = std::unexpected<Error>(report.error());
        }
        if (done) continue;
        print_error(done.error());
        status = 1;
    }
    return status;
}

}  // namespace qimg::cli
