// The image that a command works on, as its command line names it: -f, -U, --image-opts and the name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "cli/qimg/arguments.hpp"
#include "qimg/error.hpp"
#include "qimg/image.hpp"

namespace qimg::cli {

// The options that say how an image's name is to be read, the same in every command that has them.
struct SourceOptions {
    std::optional<std::string> format;  // -f
    bool force_share = false;           // -U
    bool image_opts = false;            // --image-opts: the name is "driver=…,file.filename=…"
};

// Reads a name in any of the forms of image_name.hpp. Errors: invalid_argument, unsupported (other protocols
// and drivers).
Result<ImageLocation> parse_source(const std::string& name, const SourceOptions& options);

// As parse_source; an error is printed, and the result is empty.
std::optional<ImageLocation> source_image(const std::string& name, const SourceOptions& options,
                                          Access access);

// "Could not open 'NAME': …" on stderr, NAME being the image as the command line has it; returns the exit
// status 1.
int open_error(const std::string& name, const ImageLocation& image, const Error& error);

// The error without that beginning.
Error without_open_prefix(const ImageLocation& image, const Error& error);

// Opens the image as a command that is about to change it does, warns when only its first bytes, which a
// guest may have written, say that it is raw, and closes it. The disk's bytes; empty, with the error printed,
// when it cannot be opened.
std::optional<std::uint64_t> size_if_writable(const std::string& name, const ImageLocation& source);

// The ID of the secret that --object gives; encrypted images are opened with one, which nobody does here. Nothing,
// with the error printed, when it is no secret.
[[nodiscard]] std::optional<std::string> parse_object(std::string_view definition);

// The keys of --object and --image-opts in every command, beyond those that a command counts out itself.
enum SourceKey : int { object = long_only(100), image_opts };

// Takes -f, -U, --object and --image-opts. The exit status when one of them is wrong, or when `key` is none
// of them, which ends the command, too.
std::optional<int> take_source_option(SourceOptions& source, int key, const Arguments& arguments);

}  // namespace qimg::cli
