// qimg bench: measures how fast requests to an image are answered.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/bench.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "cli/qimg/arguments.hpp"
#include "cli/qimg/cache_mode.hpp"
#include "cli/qimg/commands.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "cli/qimg/refusal.hpp"
#include "cli/qimg/size_argument.hpp"
#include "cli/qimg/source_image.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

enum Key : int { flush_interval = long_only(0), no_drain, pattern, force };

constexpr OptionSpec option_specs[] = {
    {'f', "format", true},
    {'c', "count", true},
    {'d', "depth", true},
    {'o', "offset", true},
    {'s', "buffer-size", true},
    {'S', "step-size", true},
    {'w', "write"},
    {pattern, "pattern", true},
    {flush_interval, "flush-interval", true},
    {no_drain, "no-drain"},
    {'i', "aio", true},
    {'n', "native"},
    {'t', "cache", true},
    {'q', "quiet"},
    {'U', "force-share"},
    {image_opts, "image-opts"},
    {force, "force"},
};

constexpr const char* help =
    "usage: qimg bench [OPTION]... IMAGE\n"
    "Sends requests to IMAGE and tells how long it took until all were answered.\n"
    "\n"
    "  -f, --format FORMAT     qcow2, raw or vmdk, instead of what the first bytes say\n"
    "  -c, --count N           requests (default: 75000)\n"
    "  -d, --depth N           of them at the same time (default: 64); writes go one by one\n"
    "  -o, --offset SIZE       where the first one begins\n"
    "  -s, --buffer-size SIZE  of a request (default: 4k)\n"
    "  -S, --step-size SIZE    from one request to the next (default: that of a request)\n"
    "  -w, --write             write, instead of reading: what was there is lost\n"
    "      --force             write although other images stand on this one\n"
    "      --pattern BYTE      write this byte, 0 to 255\n"
    "      --flush-interval N  flush after every N writes\n"
    "  -U, --force-share       read an image that is in use\n"
    "      --image-opts        IMAGE is a list such as driver=qcow2,file.filename=NAME\n"
    "      --no-drain, -i, --aio AIO, -n, --native, -t, --cache CACHE, -q, --quiet\n"
    "                          accepted; without effect\n";

struct Request {
    SourceOptions source;
    BenchOptions bench;
    std::optional<std::uint64_t> step;
    bool force = false;
    bool native = false;
    bool direct = false;
};

// A plain number, hexadecimal and octal ones included; empty, with the error printed, when it is none or too
// large.
std::optional<std::uint64_t> parse_count(std::string_view what, const char* text, std::uint64_t largest) {
    char* end = nullptr;
    errno = 0;
    const std::uint64_t number = std::strtoull(text, &end, 0);
    if (end != text && *end == '\0' && errno == 0 && number <= largest) return number;
    print_errorf("Invalid {} specified", what);
    return std::nullopt;
}

// Options with a number; false with the error printed.
bool take_number(Request& request, int key, const char* text) {
    constexpr std::uint64_t largest = std::numeric_limits<std::int32_t>::max();
    std::optional<std::uint64_t> number;
    switch (key) {
        case 'c':
            number = parse_count("request count", text, largest);
            request.bench.count = number.value_or(0);
            break;
        case 'd':
            number = parse_count("queue depth", text, largest);
            if (number == 0) {
                print_error("Invalid queue depth specified");
                return false;
            }
            request.bench.depth = static_cast<unsigned>(number.value_or(1));
            break;
        case 'o':
            number = parse_size_argument("offset", text);
            request.bench.start = number.value_or(0);
            break;
        case 's':
            number = parse_size_argument("buffer size", text, {0, largest});
            request.bench.bytes = number.value_or(0);
            break;
        case 'S':
            number = request.step = parse_size_argument("step_size", text, {0, largest});
            break;
        case pattern:
            number = parse_count("pattern byte", text, 0xff);
            request.bench.pattern = std::byte(number.value_or(0));
            break;
        default:
            number = parse_count("flush interval", text, largest);
            request.bench.flush_interval = number.value_or(0);
            break;
    }
    return number.has_value();
}

// What only changes how QEMU itself works; the exit status when it is wrong.
std::optional<int> take_manner(Request& request, int key, std::string_view value) {
    constexpr std::array aio = {"threads", "native", "io_uring"};
    if (key == 't') {
        if (!is_cache_mode(value)) {
            print_error("Invalid cache mode");
            return 1;
        }
        request.direct = value == "none" || value == "off" || value == "directsync";
    } else {
        if (std::find(aio.begin(), aio.end(), value) == aio.end()) {
            print_errorf("Invalid aio option: {}", value);
            return 1;
        }
        request.native = value == "native";
    }
    return std::nullopt;
}

// Takes one option; the exit status when that ends the command.
std::optional<int> take_option(Request& request, int key, const Arguments& arguments) {
    switch (key) {
        case 'c':
        case 'd':
        case 'o':
        case 's':
        case 'S':
        case pattern:
        case flush_interval:
            if (!take_number(request, key, arguments.value())) return 1;
            break;
        case 'i':
        case 't':
            return take_manner(request, key, arguments.value());
        case 'n':
            request.native = true;
            break;
        case 'w':
            request.bench.write = true;
            break;
        case force:
            request.force = true;
            break;
        case 'q':
        case no_drain:
            break;
        default:
            return take_source_option(request.source, key, arguments);
    }
    return std::nullopt;
}

// Options that exclude each other; false with the error printed.
bool check_request(const Request& request) {
    if (!request.bench.write && request.bench.flush_interval != 0) {
        print_error("--flush-interval is only available in write tests");
        return false;
    }
    if (request.bench.flush_interval != 0 && request.bench.flush_interval < request.bench.depth) {
        print_error("Flush interval can't be smaller than depth");
        return false;
    }
    return true;
}

// Null, with the error printed, when it cannot be opened in this way.
std::unique_ptr<Image> open_image(const std::string& name, const Request& request) {
    const bool writes = request.bench.write;
    const char* wrong = nullptr;
    if (request.native && !request.direct)
        wrong = "aio=native was specified, but it requires cache.direct=on, which was not specified.";
    if (writes && request.source.force_share) wrong = "force-share=on can only be used with read-only images";
    if (wrong != nullptr) {
        print_errorf("Could not open '{}': {}", printable(name), wrong);
        return nullptr;
    }
    const auto location = source_image(name, request.source, writes ? Access::read_write : Access::read_only);
    if (!location) return nullptr;
    if (writes && !size_if_writable(name, *location)) return nullptr;
    if (writes && !spares_dependants(location->path, "writing to it", request.force)) return nullptr;
    auto image = Image::open(location->path, location->open, command_opener());
    if (image) return std::move(*image);
    open_error(name, *location, image.error());
    return nullptr;
}

int run(Image& image, const BenchOptions& options) {
    fmt::print(
        "Sending {} {} requests, {} bytes each, {} in parallel (starting at offset {}, step size {})\n",
        options.count, options.write ? "write" : "read", options.bytes, options.depth, options.start,
        options.step);
    if (options.flush_interval != 0) fmt::print("Sending flush every {} requests\n", options.flush_interval);
    const auto report = bench(image, options);
    if (!report) {
        Error error = report.error();
        error.detail = error.message;
        error.message = std::strerror(error.system_errno == 0 ? EIO : error.system_errno);
        print_error(error, "Failed request");
        return 1;
    }
    fmt::print("Run completed in {:3.3f} seconds.\n", report->time.count());
    return 0;
}

}  // namespace

int bench_command(int argc, char** argv) {
    Request request;
    Arguments arguments(argc, argv, option_specs, help);
    for (int key; (key = arguments.next()) != Arguments::end;) {
        if (const auto status = take_option(request, key, arguments)) return *status;
    }
    const auto operands = arguments.operands();
    if (operands.size() != 1) return usage_error("Expecting one image file name");
    if (!check_request(request)) return 1;
    request.bench.step = request.step.value_or(0);
    if (request.bench.step == 0) request.bench.step = request.bench.bytes;
    const auto image = open_image(operands[0], request);
    if (!image) return 1;
    return run(*image, request.bench);
}

}  // namespace qimg::cli
