// qimg: reads the program's own options, finds the command and hands the rest of the line to it.
// SPDX-License-Identifier: Apache-2.0
#include <getopt.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "cli/qimg/commands.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/sandbox.hpp"
#include "qimg/storage.hpp"

namespace {

using namespace qimg::cli;

struct Command {
    const char* name;
    int (*run)(int argc, char** argv);
    const char* summary;
};

constexpr Command commands[] = {
    {"amend", amend_command, "change options of an image that is there"},
    {"bench", bench_command, "measure how fast requests to an image are answered"},
    {"bitmap", bitmap_command, "make, remove, clear and merge bitmaps of what changes"},
    {"check", check_command, "check and repair an image"},
    {"commit", commit_command, "write what an overlay has into the image below it"},
    {"compare", compare_command, "tell whether guests see the same on two disks"},
    {"convert", convert_command, "copy a disk into a new image of any format"},
    {"create", create_command, "make a new image"},
    {"dd", dd_command, "copy blocks of a disk into a new image"},
    {"expand", expand_command, "make the disk longer, with its partition and file system"},
    {"info", info_command, "tell what an image is"},
    {"map", map_command, "tell where each part of the disk lies"},
    {"measure", measure_command, "tell how much space a new image will need"},
    {"partitions", partitions_command, "show the partitions of a disk and what is in them"},
    {"rebase", rebase_command, "put an overlay on another backing image"},
    {"resize", resize_command, "make the disk longer or shorter"},
    {"rm", rm_command, "remove images that nothing stands on"},
    {"snap", snap_command, "make an overlay of an image that stays as it is"},
    {"snapshot", snapshot_command, "list, make, go back to and delete snapshots inside an image"},
    {"tree", tree_command, "show which images stand on which"},
};

void print_version() {
    fmt::print("{} version {}\n", program_name(), program_version);
}

void print_help() {
    print_version();
    fmt::print("usage: {} [OPTION]... COMMAND [ARGUMENT]...\n\nCommands:\n", program_name());
    for (const Command& command : commands)
        fmt::print("  {:10} {}\n", command.name, command.summary);
    fmt::print(
        "\nOptions:\n"
        "  -h, --help           print this and exit; after a command: its options\n"
        "  -V, --version        print the version and exit\n"
        "      --no-sandbox     let commands that only read images keep all rights\n"
        "      --trust          follow names in image headers wherever they lead\n"
        "  -T, --trace PATTERN  accepted and ignored\n"
        "\nSupported formats: qcow2 raw\n"
        "\nSizes are bytes, or numbers with the suffix k, M, G, T, P or E (powers of 1024).\n");
}

constexpr int stop = -1;
enum OwnOption : int { trust = 256, no_sandbox };

// Reads the options before the command; the exit status, or `stop` when a command follows.
int read_own_options(int argc, char** argv) {
    static const ::option long_options[] = {{"help", no_argument, nullptr, 'h'},
                                            {"version", no_argument, nullptr, 'V'},
                                            {"trace", required_argument, nullptr, 'T'},
                                            {"trust", no_argument, nullptr, trust},
                                            {"no-sandbox", no_argument, nullptr, no_sandbox},
                                            {nullptr, 0, nullptr, 0}};
    // "+": the first operand is the command, what follows is not ours
    for (int key; (key = ::getopt_long(argc, argv, "+:hVT:", long_options, nullptr)) != -1;) {
        switch (key) {
            case ':':
                return usage_error(fmt::format("missing argument for option '{}'", argv[optind - 1]));
            case '?':
                return usage_error(fmt::format("unrecognized option '{}'", argv[optind - 1]));
            case 'h':
                print_help();
                return 0;
            case 'V':
                print_version();
                return 0;
            case trust:
                trust_headers();
                break;
            case no_sandbox:
                disable_sandbox();
                break;
            default:
                break;  // tracing: there is nothing to trace
        }
    }
    return stop;
}

int run(int argc, char** argv) {
    if (argc < 2) return usage_error("Not enough arguments");
    opterr = 0;
    if (const int status = read_own_options(argc, argv); status != stop) return status;
    argc -= optind;
    argv += optind;
    if (argc == 0) return usage_error("Not enough arguments");
    for (const Command& command : commands) {
        if (std::strcmp(command.name, argv[0]) == 0) return command.run(argc, argv);
    }
    return usage_error(fmt::format("Command not found: {}", argv[0]));
}

}  // namespace

int main(int argc, char** argv) {
    set_program_name(argv[0]);
    qimg::remove_unfinished_on_signals();
    // a limit on the size of files is told like a full disk
    std::signal(SIGXFSZ, SIG_IGN);
    const int status = run(argc, argv);
    // a full disk or a closed pipe behind stdout is an error, not a silence
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
        print_error("cannot write to standard output");
        return status == 0 ? 1 : status;
    }
    return status;
}
