// What can be chosen for a new image: -o's options of each format, the line that echoes them, and what they
// mean to the library. For create, and for every command that writes a new image; and which of them can be
// changed later, for amend.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/qimg/option_list.hpp"
#include "qimg/operations/create.hpp"

namespace qimg::cli {

// Whether images of the format can be made. Errors: not_found for a format nobody knows, unsupported.
Result<void> check_creatable(const std::string& format);

// Prints the option table of -o help; with a file name, what files can have is listed, too.
void print_creation_help(const std::string& format, bool with_file);

// Whether options of such images can be changed. Errors: as check_creatable.
Result<void> check_amendable(const std::string& format);

// Prints the options that can be changed about an image of that format.
void print_amendment_help(const std::string& format);

// What of an existing qcow2 image shall change. Errors: invalid_argument, in QEMU's words.
struct AmendmentChoice {
    Qcow2Amendment qcow2;
    std::optional<std::uint64_t> size;  // bytes; absent: as it is
};
Result<AmendmentChoice> parse_amendment(const OptionList& list);

// The options that were given for a new image of a format, defaults filled in.
class CreationOptions {
  public:
    // Errors: invalid_argument, in QEMU's words.
    static Result<CreationOptions> parse(const std::string& format, const OptionList& list);

    // The text of an option, as it is echoed; empty when it was not given and has no default.
    std::optional<std::string> value(std::string_view name) const;
    // The option with its number, or null when it was not given and has no default.
    const OptionValue* find(std::string_view name) const;
    // Bytes.
    std::optional<std::uint64_t> size() const;
    void set_size(std::uint64_t bytes);

    // "Formatting 'PATH', fmt=FORMAT name=value…", without a newline.
    std::string formatting_line(const std::string& path) const;
    // An encrypted image is made with one of `secrets`, IDs of objects. Errors: invalid_argument, in QEMU's words.
    Result<void> check_secret(std::span<const std::string> secrets) const;
    // Errors: invalid_argument for values that mean nothing, unsupported for encryption other than AES.
    Result<CreateOptions> resolve(const std::string& path) const;

  private:
    std::optional<std::string> encryption() const;
    Result<Qcow2Layout> qcow2_layout() const;
    Result<VmdkLayout> vmdk_layout() const;

    std::string format_;
    std::vector<OptionValue> values_;
};

}  // namespace qimg::cli
