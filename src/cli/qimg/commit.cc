// qimg commit: puts what an overlay has into an image below it.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/commit.hpp"

#include <fmt/core.h>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/cache_mode.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/progress_bar.hpp"
#include "cli/qimg/refusal.hpp"
#include "cli/qimg/size_argument.hpp"
#include "cli/qimg/source_image.hpp"

namespace qimg::cli {

namespace {

enum Key : int { force = long_only(0) };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true},     {'t', "cache", true}, {'b', "base", true}, {'d', "drop"},
    {'r', "rate-limit", true}, {'p', "progress"},    {'q', "quiet"},      {image_opts, "image-opts"},
    {object, "object", true},  {force, "force"},
};

constexpr const char* help =
    "usage: qimg commit [OPTION]... IMAGE\n"
    "Writes what IMAGE has into its backing image, and takes it out of IMAGE. What guests see stays the "
    "same.\n"
    "\n"
    "  -b, --base BASE        into this image of the chain instead; nothing is taken out of IMAGE then\n"
    "  -d, --drop             take nothing out of IMAGE, because it will be removed\n"
    "  -f, --format FORMAT    qcow2, raw or vmdk, instead of what the first bytes say\n"
    "      --force            also when other images stand on the one that is written\n"
    "  -r, --rate-limit SIZE  bytes a second at most\n"
    "  -p, --progress         show how far it is\n"
    "  -q, --quiet            print nothing but errors\n"
    "  -t, --cache CACHE      accepted; without effect\n"
    "      --image-opts       IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --object OBJECT    accepted; secrets are not used\n";

struct Request {
    SourceOptions source;
    CommitOptions commit;
    std::string cache = "writeback";
    ProgressBar::Wish progress;
    bool force = false;
};

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 'b':
            request.commit.base = arguments.value();
            break;
        case 'd':
            request.commit.empty = false;
            break;
        case force:
            request.force = true;
            break;
        case 'p':
            request.progress.asked = true;
            break;
        case 'q':
            request.progress.quiet = true;
            break;
        case 't':
            request.cache = arguments.value();
            break;
        case 'r': {
            const auto rate = parse_size_argument("rate limit", arguments.value());
            if (!rate) return 1;
            request.commit.rate_limit = *rate;
            break;
        }
        default:
            return take_source_option(request.source, key, arguments);
    }
    return std::nullopt;
}

// What must not be written to is told before anything is.
Result<CommitReport> commit_with_care(const Request& request, Progress& progress) {
    const auto base = find_commit_base(request.commit, command_opener());
    if (!base) return std::unexpected<Error>(base.error());
    const auto harmless = protect_dependants(base->path, "writing to it", request.force, base->overlay);
    if (!harmless) return std::unexpected<Error>(harmless.error());
    return commit(request.commit, command_opener(), progress);
}

int commit_image(const std::string& name, Request& request) {
    if (!is_cache_mode(request.cache)) {
        print_errorf("Invalid cache option: {}", request.cache);
        return 1;
    }
    const auto source = source_image(name, request.source, Access::read_write);
    if (!source || !size_if_writable(name, *source)) return 1;
    request.commit.path = source->path;
    request.commit.open = source->open;
    {
        ProgressBar progress(request.progress);
        const auto report = commit_with_care(request, progress);
        if (!report) {
            print_error(without_open_prefix(*source, report.error()));
            return 1;
        }
    }
    if (!request.progress.quiet) fmt::print("Image committed.\n");
    return 0;
}

}  // namespace

int commit_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (operands.size() != 1) return usage_error("Expecting one image file name");
    return commit_image(operands[0], request);
}

}  // namespace qimg::cli
