// The creation options of raw, qcow2 and vmdk, with QEMU's names, order and texts.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/create_options.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "cli/qimg/messages.hpp"
#include "cli/qimg/preallocation_name.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

using enum OptionType;

// in the order in which they are echoed
constexpr OptionDescription qcow2_options[] = {
    {"encryption", boolean,
     "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"},
    {"encrypt.format", text, "Encrypt the image, format choices: 'aes', 'luks'"},
    {"encrypt.key-secret", text, "ID of secret providing qcow AES key or LUKS passphrase"},
    {"encrypt.cipher-alg", text, "Name of encryption cipher algorithm"},
    {"encrypt.cipher-mode", text, "Name of encryption cipher mode"},
    {"encrypt.ivgen-alg", text, "Name of IV generator algorithm"},
    {"encrypt.ivgen-hash-alg", text, "Name of IV generator hash algorithm"},
    {"encrypt.hash-alg", text, "Name of encryption hash algorithm"},
    {"encrypt.iter-time", number, "Time to spend in PBKDF in milliseconds"},
    {"cluster_size", size, "qcow2 cluster size"},
    {"extended_l2", boolean, "Extended L2 tables"},
    {"preallocation", text, "Preallocation mode (allowed values: off, metadata, falloc, full)"},
    {"compression_type", text, "Compression method used for image cluster compression"},
    {"size", size, "Virtual disk size"},
    {"compat", text, "Compatibility level (v2 [0.10] or v3 [1.1])"},
    {"backing_file", text, "File name of a base image"},
    {"backing_fmt", text, "Image format of the base image"},
    {"data_file", text, "File name of an external data file"},
    {"data_file_raw", boolean, "The external data file must stay valid as a raw image"},
    {"lazy_refcounts", boolean, "Postpone refcount updates"},
    {"refcount_bits", number, "Width of a reference count entry in bits"},
};
constexpr std::string_view amendable_options[] = {"encrypt.iter-time", "size",           "compat",
                                                  "backing_file",      "backing_fmt",    "data_file",
                                                  "data_file_raw",     "lazy_refcounts", "refcount_bits"};
constexpr OptionDescription amend_options[] = {
    {"encrypt.state", text, "Select new state of affected keyslots (active/inactive)"},
    {"encrypt.keyslot", number, "Select a single keyslot to modify explicitly"},
    {"encrypt.old-secret", text, "Select all keyslots that match this password"},
    {"encrypt.new-secret", text, "New secret to set in the matching keyslots. Empty string to erase"},
};
constexpr OptionDescription vmdk_options[] = {
    {"size", size, "Virtual disk size"},
    {"adapter_type", text,
     "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX"},
    {"backing_file", text, "File name of a base image"},
    {"backing_fmt", text, "Must be 'vmdk' if present"},
    {"compat6", boolean, "VMDK version 6 image"},
    {"hwversion", text, "VMDK hardware version"},
    {"toolsversion", text, "VMware guest tools version"},
    {"subformat", text,
     "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | "
     "twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} "},
    {"zeroed_grain", boolean, "Enable efficient zero writes using the zeroed-grain GTE feature"},
};
constexpr OptionDescription raw_options[] = {{"size", size, "Virtual disk size"}};
constexpr OptionDescription file_options[] = {
    {"nocow", boolean, "Turn off copy-on-write (valid only on btrfs)"},
    {"preallocation", text, "Preallocation mode (allowed values: off, falloc, full)"},
    {"extent_size_hint", size, "Extent size hint for the image file, 0 to disable"},
};
constexpr std::string_view qcow2_defaults =
    "cluster_size=64k,extended_l2=off,compression_type=zlib,lazy_refcounts=off,refcount_bits=16";
constexpr std::string_view vmdk_defaults = "compat6=off,hwversion=undefined";
// what QEMU can read or run on, but not make; a backing format may be any of these and ours
constexpr std::array foreign_formats = {
    "blkdebug",   "blklogwrites", "blkverify", "bochs", "cloop", "compress", "dmg",
    "host_cdrom", "host_device",  "https",     "http",  "luks",  "nbd",      "nfs",
    "null-aio",   "null-co",      "parallels", "qcow",  "qed",   "quorum",   "rbd",
    "ssh",        "throttle",     "vdi",       "vhdx",  "vpc",   "vvfat"};

// "file" is what QEMU calls the layer below a format: without one above it, a raw image.
bool is_ours(std::string_view format) {
    return format == "qcow2" || format == "raw" || format == "vmdk" || format == "file";
}
bool is_foreign(std::string_view format) {
    return std::find(foreign_formats.begin(), foreign_formats.end(), format) != foreign_formats.end();
}
bool is_encryption(std::string_view name) {
    return name.starts_with("encrypt");
}

std::unexpected<Error> refuse(std::string text) {
    return fail(ErrorKind::invalid_argument, std::move(text));
}
std::unexpected<Error> refuse_value(std::string_view name, std::string_view value) {
    return refuse(fmt::format("Parameter '{}' does not accept value '{}'", name, value));
}

// What the format knows, then what files have besides.
std::vector<OptionDescription> known_options(std::string_view format, bool with_file) {
    std::vector<OptionDescription> known(std::begin(raw_options), std::end(raw_options));
    if (format == "qcow2") known.assign(std::begin(qcow2_options), std::end(qcow2_options));
    if (format == "vmdk") known.assign(std::begin(vmdk_options), std::end(vmdk_options));
    if (!with_file) return known;
    for (const OptionDescription& option : file_options) {
        const auto same = [&](const OptionDescription& other) {
            return std::string_view(option.name) == other.name;
        };
        if (std::none_of(known.begin(), known.end(), same)) known.push_back(option);
    }
    return known;
}

// What can be changed about an image that is there.
std::vector<OptionDescription> known_amendments() {
    std::vector<OptionDescription> known(std::begin(amend_options), std::end(amend_options));
    std::copy_if(std::begin(qcow2_options), std::end(qcow2_options), std::back_inserter(known),
                 [](const OptionDescription& option) {
                     return std::ranges::find(amendable_options, option.name) != std::end(amendable_options);
                 });
    return known;
}

// Prints a table of options; those for encryption only where QEMU's own table is expected.
void print_known(std::vector<OptionDescription> known) {
    if (!is_drop_in()) {
        std::erase_if(known, [](const OptionDescription& option) { return is_encryption(option.name); });
    }
    print_options(known);
}

// Empty for a version that nobody knows.
std::optional<unsigned> version_named(std::string_view name) {
    if (name == "0.10" || name == "v2") return 2;
    if (name == "1.1" || name == "v3") return 3;
    return std::nullopt;
}

// A width that does not fit is as wrong as 65.
unsigned width_of(std::uint64_t number) {
    return static_cast<unsigned>(std::min<std::uint64_t>(number, 65));
}

// A comma inside a value is doubled, so that the list could be given again.
std::string echoed(std::string_view value) {
    std::string text;
    for (const char c : value)
        text.append(c == ',' ? 2 : 1, c);
    return printable(text);
}

}  // namespace

Result<void> check_creatable(const std::string& format) {
    if (is_ours(format)) return {};
    if (is_foreign(format)) {
        return fail(ErrorKind::unsupported,
                    fmt::format("Format driver '{}' does not support image creation", format));
    }
    return fail(ErrorKind::not_found, fmt::format("Unknown file format '{}'", printable(format)));
}

void print_creation_help(const std::string& format, bool with_file) {
    if (with_file) {
        fmt::print("Supported options:\n");
    } else {
        fmt::print("Supported {} options:\n", format);
    }
    print_known(known_options(format, with_file));
    if (with_file) return;
    fmt::print(
        "\nThe protocol level may support further options.\n"
        "Specify the target filename to include those options.\n");
}

Result<void> check_amendable(const std::string& format) {
    if (format == "qcow2") return {};
    if (is_ours(format) || is_foreign(format)) {
        return fail(ErrorKind::unsupported,
                    fmt::format("Format driver '{}' does not support option amendment", format));
    }
    return fail(ErrorKind::not_found, fmt::format("Unknown file format '{}'", printable(format)));
}

void print_amendment_help(const std::string& format) {
    fmt::print("Amend options for '{}':\n", format);
    print_known(known_amendments());
}

// What the options say, beyond their types.
static Result<AmendmentChoice> choose(const std::vector<OptionValue>& values) {
    constexpr std::uint64_t size_max = 0x7fffffffc0000000;
    AmendmentChoice choice;
    const bool encrypts =
        std::ranges::any_of(values, [](const OptionValue& option) { return is_encryption(option.name); });
    if (encrypts) return refuse("Can't amend encryption options - encryption not present");
    for (const OptionValue& option : values) {
        if (option.name == "compat") {
            choice.qcow2.version = version_named(option.value);
            if (!choice.qcow2.version) {
                return refuse(fmt::format("Unknown compatibility level {}", printable(option.value)));
            }
        } else if (option.name == "data_file") {
            choice.qcow2.data_file = option.value;
        } else if (option.name == "data_file_raw") {
            choice.qcow2.data_file_raw = option.number != 0;
        } else if (option.name == "lazy_refcounts") {
            choice.qcow2.lazy_refcounts = option.number != 0;
        } else if (option.name == "refcount_bits") {
            choice.qcow2.refcount_bits = width_of(option.number);
        } else if (option.name == "size") {
            if (option.number != 0) choice.size = option.number;
        } else {
            auto& name =
                option.name == "backing_file" ? choice.qcow2.backing_file : choice.qcow2.backing_format;
            name = option.value;
        }
    }
    if (choice.size >= 1ull << 63) return refuse("Image size cannot be negative");
    if (choice.size > size_max) {
        return refuse(fmt::format("offset({}) exceeds maximum({})", *choice.size, size_max));
    }
    return choice;
}

Result<AmendmentChoice> parse_amendment(const OptionList& list) {
    const auto values = list.parse(known_amendments());
    if (values) return choose(*values);
    Error error = values.error();
    if (list.parse(known_options("qcow2", false))) {
        error.message += "\nThis option is only supported for image creation";
    }
    return std::unexpected<Error>(std::move(error));
}

Result<CreationOptions> CreationOptions::parse(const std::string& format, const OptionList& list) {
    OptionList all;
    if (format == "qcow2") all.add(qcow2_defaults);
    if (format == "vmdk") all.add(vmdk_defaults);
    all.append(list);
    auto values = all.parse(known_options(format, true));
    if (!values) return std::unexpected<Error>(values.error());
    CreationOptions options;
    options.format_ = format;
    options.values_ = std::move(*values);
    const bool has_backing = options.value("backing_file") || options.value("backing_fmt");
    if (has_backing && format == "vmdk")
        return fail(ErrorKind::unsupported, "Backing file not supported for file format 'vmdk'");
    return options;
}

const OptionValue* CreationOptions::find(std::string_view name) const {
    const auto found = std::find_if(values_.begin(), values_.end(),
                                    [&](const OptionValue& one) { return one.name == name; });
    return found == values_.end() ? nullptr : &*found;
}

std::optional<std::string> CreationOptions::value(std::string_view name) const {
    const OptionValue* const found = find(name);
    return found == nullptr ? std::nullopt : std::optional(found->value);
}

std::optional<std::uint64_t> CreationOptions::size() const {
    const OptionValue* const found = find("size");
    return found == nullptr ? std::nullopt : std::optional(found->number);
}

void CreationOptions::set_size(std::uint64_t bytes) {
    values_.push_back({"size", fmt::format("{}", bytes), bytes});
}

std::string CreationOptions::formatting_line(const std::string& path) const {
    std::string line = fmt::format("Formatting '{}', fmt={}", printable(path), format_);
    for (const OptionDescription& option : known_options(format_, true)) {
        const auto text_of = value(option.name);
        if (text_of) line += fmt::format(" {}={}", option.name, echoed(*text_of));
    }
    return line;
}

Result<Qcow2Layout> CreationOptions::qcow2_layout() const {
    const auto is_on = [this](std::string_view name) {
        return find(name) != nullptr && find(name)->number != 0;
    };
    Qcow2Layout layout;
    const std::string version = value("compat").value_or("v3");
    const auto known_version = version_named(version);
    if (!known_version) return refuse_value("version", version);
    layout.version = *known_version;
    layout.cluster_bytes = find("cluster_size")->number;
    layout.refcount_bits = width_of(find("refcount_bits")->number);
    layout.lazy_refcounts = is_on("lazy_refcounts");
    layout.extended_l2 = is_on("extended_l2");
    layout.compression_type = *value("compression_type");
    if (layout.compression_type != "zlib" && layout.compression_type != "zstd") {
        return refuse_value("compression-type", layout.compression_type);
    }
    layout.data_file = value("data_file");
    layout.data_file_raw = is_on("data_file_raw");
    if (layout.data_file_raw && !layout.data_file) return refuse("data-file-raw requires data-file");
    layout.backing_file = value("backing_file");
    layout.backing_format = value("backing_fmt");
    if (layout.backing_format && !is_ours(*layout.backing_format) && !is_foreign(*layout.backing_format)) {
        return refuse_value("backing-fmt", *layout.backing_format);
    }
    if (layout.backing_format && !layout.backing_file) {
        return refuse("Backing format cannot be used without backing file");
    }
    return layout;
}

std::optional<std::string> CreationOptions::encryption() const {
    if (find("encryption") != nullptr && find("encryption")->number != 0) return "aes";
    return value("encrypt.format");
}

Result<void> CreationOptions::check_secret(std::span<const std::string> secrets) const {
    if (find("encryption") != nullptr && find("encrypt.format") != nullptr) {
        return refuse("'encrypt.format' and its alias 'encryption' can't be used at the same time");
    }
    if (!encryption()) return {};
    const auto secret = value("encrypt.key-secret");
    if (!secret) return refuse("Parameter 'encrypt.key-secret' is required for cipher");
    if (std::ranges::find(secrets, *secret) == secrets.end()) {
        return refuse(fmt::format("No secret with id '{}'", printable(*secret)));
    }
    return {};
}

Result<VmdkLayout> CreationOptions::vmdk_layout() const {
    const auto is_on = [this](std::string_view name) {
        return find(name) != nullptr && find(name)->number != 0;
    };
    VmdkLayout layout;
    layout.subformat = value("subformat").value_or(layout.subformat);
    layout.adapter_type = value("adapter_type").value_or(layout.adapter_type);
    layout.tools_version = value("toolsversion").value_or(layout.tools_version);
    layout.zeroed_grains = is_on("zeroed_grain");
    const std::string version = value("hwversion").value_or("undefined");
    if (is_on("compat6")) {
        if (version != "undefined") return refuse("compat6 cannot be enabled with hwversion set");
        layout.hardware_version = std::string("6");
    } else if (version != "undefined") {
        layout.hardware_version = version;
    }
    return layout;
}

Result<CreateOptions> CreationOptions::resolve(const std::string& path) const {
    CreateOptions options;
    options.path = path;
    options.format = format_ == "file" ? "raw" : format_;
    options.size = size();
    const std::string preallocation = value("preallocation").value_or("off");
    const auto mode = preallocation_named(preallocation);
    if (!mode && format_ != "qcow2") return refuse(fmt::format("invalid parameter value: {}", preallocation));
    if (!mode) return refuse_value("preallocation", preallocation);
    if (format_ == "vmdk") {
        // as in QEMU, what would be preallocated is a file that is empty yet: nothing
        auto layout = vmdk_layout();
        if (!layout) return std::unexpected<Error>(layout.error());
        options.vmdk = std::move(*layout);
        return options;
    }
    options.preallocation = *mode;
    if (format_ != "qcow2") return options;

    const auto cipher = encryption();
    if (cipher && *cipher != "aes") {
        return fail(ErrorKind::unsupported,
                    fmt::format("Encryption with {} is not supported", printable(*cipher)));
    }
    auto layout = qcow2_layout();
    if (!layout) return std::unexpected<Error>(layout.error());
    options.qcow2 = std::move(*layout);
    options.qcow2.is_encrypted = cipher.has_value();
    return options;
}

}  // namespace qimg::cli
