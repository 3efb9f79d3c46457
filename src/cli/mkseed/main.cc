// mkseed: reads the files that its command line names, makes the seed, tells what went wrong.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "cli/mkseed/arguments.hpp"
#include "qimg/seed.hpp"
#include "qimg/storage.hpp"

namespace mkseed {

namespace {

using qimg::ErrorKind;
using qimg::Result;

Result<std::int64_t> time_of_environment() {
    const char* text = std::getenv("SOURCE_DATE_EPOCH");
    if (!text || !*text) return qimg::seed_default_time;
    std::int64_t seconds = 0;
    const char* end = text + std::strlen(text);
    const auto [stop, error] = std::from_chars(text, end, seconds);
    if (error == std::errc() && stop == end && seconds >= 0) return seconds;
    return qimg::fail(ErrorKind::invalid_argument,
                      "SOURCE_DATE_EPOCH: must be a number of seconds since 1970");
}

// A file that is read must not be the one that is written; standard input can be read once.
Result<void> check_files(const Arguments& arguments) {
    std::vector<std::string> files = arguments.user_data;
    for (const auto* file : {&arguments.meta_data, &arguments.network_config, &arguments.vendor_data,
                             &arguments.interfaces, &arguments.password_file}) {
        if (*file) files.push_back(**file);
    }
    int standard_inputs = 0;
    for (const std::string& file : files) {
        if (file == "-" && ++standard_inputs > 1) {
            return qimg::fail(ErrorKind::invalid_argument,
                              "standard input is named twice, but can be read only once");
        }
        std::error_code ignored;
        if (file != "-" && std::filesystem::equivalent(file, arguments.output, ignored)) {
            return qimg::fail(
                ErrorKind::invalid_argument,
                fmt::format("{}: would be read and overwritten; the image's name comes first", file));
        }
    }
    return {};
}

Result<void> read(const std::optional<std::string>& path, std::optional<qimg::SeedText>& into) {
    if (!path) return {};
    auto text = qimg::read_seed_text(*path);
    if (!text) return std::unexpected(text.error());
    into = std::move(*text);
    return {};
}

Result<void> read_texts(const Arguments& arguments, qimg::SeedOptions& options) {
    for (const std::string& path : arguments.user_data) {
        auto text = qimg::read_seed_text(path);
        if (!text) return std::unexpected(text.error());
        options.user_data.push_back(std::move(*text));
    }
    if (auto done = read(arguments.meta_data, options.meta_data); !done) return done;
    if (auto done = read(arguments.network_config, options.network_config); !done) return done;
    if (auto done = read(arguments.vendor_data, options.vendor_data); !done) return done;
    return read(arguments.interfaces, options.interfaces);
}

Result<void> read_secrets(const Arguments& arguments, qimg::SeedOptions& options) {
    for (const std::string& key : arguments.ssh_keys) {
        auto keys = qimg::read_ssh_keys(key);
        if (!keys) return std::unexpected(keys.error());
        options.ssh_keys.insert(options.ssh_keys.end(), keys->begin(), keys->end());
    }
    options.password = arguments.password.value_or("");
    if (!arguments.password_file) return {};
    auto file = qimg::read_seed_text(*arguments.password_file);
    if (!file) return std::unexpected(file.error());
    options.password = file->text.substr(0, file->text.find_first_of("\r\n"));
    if (!options.password.empty()) return {};
    return qimg::fail(ErrorKind::invalid_argument,
                      fmt::format("{}: first line holds no password", file->name));
}

Result<qimg::SeedOptions> options_of(const Arguments& arguments) {
    qimg::SeedOptions options;
    options.user = arguments.user;
    options.hostname = arguments.hostname;
    options.instance_id = arguments.instance_id;
    options.dsmode = arguments.dsmode;
    options.filesystem = arguments.filesystem;
    const auto time = time_of_environment();
    if (!time) return std::unexpected(time.error());
    options.time = *time;
    if (auto done = check_files(arguments); !done) return std::unexpected(done.error());
    if (auto done = read_texts(arguments, options); !done) return std::unexpected(done.error());
    if (auto done = read_secrets(arguments, options); !done) return std::unexpected(done.error());
    return options;
}

Result<void> copy_to_standard_output(const qimg::Storage& image, std::uint64_t bytes) {
    std::vector<std::byte> content(bytes);
    if (auto done = image.read(qimg::HostOffset(0), content); !done) return done;
    for (std::span<const std::byte> rest = content; !rest.empty();) {
        const ssize_t n = ::write(STDOUT_FILENO, rest.data(), rest.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return qimg::fail(ErrorKind::io, fmt::format("standard output: {}", std::strerror(errno)), errno);
        rest = rest.subspan(static_cast<std::size_t>(n));
    }
    return {};
}

Result<qimg::SeedReport> make_on_standard_output(const qimg::SeedOptions& options) {
    if (::isatty(STDOUT_FILENO)) {
        return qimg::fail(ErrorKind::invalid_argument,
                          "standard output is a terminal: send the image to a file");
    }
    const auto seed = qimg::compose_seed(options);
    if (!seed) return std::unexpected(seed.error());
    const auto image = qimg::memory_storage("standard output");
    if (auto done = qimg::write_seed(*seed, options.filesystem, options.time, *image); !done) {
        return std::unexpected(done.error());
    }
    const auto bytes = image->size();
    if (!bytes) return std::unexpected(bytes.error());
    if (auto done = copy_to_standard_output(*image, *bytes); !done) return std::unexpected(done.error());
    return qimg::SeedReport{seed->instance_id, *bytes, seed->warnings};
}

Result<void> run(const Arguments& arguments) {
    const auto options = options_of(arguments);
    if (!options) return std::unexpected(options.error());
    const auto report = arguments.output == "-" ? make_on_standard_output(*options)
                                                : qimg::make_seed(*options, arguments.output);
    if (!report) return std::unexpected(report.error());
    for (const std::string& warning : report->warnings)
        fmt::print(stderr, "mkseed: warning: {}\n", warning);
    if (arguments.verbosity > 0) {
        fmt::print(stderr, "mkseed: wrote {}: {} bytes, instance-id {}\n", arguments.output, report->bytes,
                   report->instance_id);
    }
    return {};
}

}  // namespace

}  // namespace mkseed

int main(int count, char** words) {
    qimg::remove_unfinished_on_signals();
    const auto parsed = mkseed::parse_arguments(count, words);
    if (parsed && parsed->answer) {
        fmt::print("{}", *parsed->answer);
        return EXIT_SUCCESS;
    }
    qimg::Result<void> done;
    if (parsed) done = mkseed::run(parsed->arguments);
    if (parsed && done) return EXIT_SUCCESS;
    fmt::print(stderr, "mkseed: {}\n", (parsed ? done.error() : parsed.error()).message);
    return EXIT_FAILURE;
}
