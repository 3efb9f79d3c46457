// Opening images as commands do, and telling about it.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/source_image.hpp"

#include "cli/qimg/image_name.hpp"
#include "cli/qimg/json_text.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/opener.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

// The members in one line, as they would stand behind "json:".
std::string name_of_members(const NodeMembers& members) {
    std::string text = "json:{";
    for (const auto& [name, value] : members) {
        if (text.back() != '{') text += ", ";
        text += fmt::format("{}: {}", json_string(name), value ? json_string(*value) : "null");
    }
    return text + "}";
}

const std::string& name_for_people(const ImageLocation& image) {
    const bool is_named = image.open.assembly && !image.open.assembly->name.empty();
    return is_named ? image.open.assembly->name : image.path;
}

}  // namespace

Result<ImageLocation> parse_source(const std::string& name, const SourceOptions& options) {
    constexpr std::string_view json = "json:";
    const bool is_json = !options.image_opts && name.starts_with(json);
    if (!is_json && !options.image_opts) {
        auto image = location_of_name(name);
        if (image) image->open.format = options.format;
        return image;
    }
    const auto members = is_json ? members_of_json(name.substr(json.size())) : members_of_options(name);
    if (!members) return std::unexpected<Error>(members.error());
    auto image = location_of_members(*members, name_of_members(*members));
    if (image && options.format) image->open.format = options.format;
    return image;
}

namespace {

// "force-share=off" in a list says the opposite of -U.
bool contradicts_force_share(const std::string& name) {
    const auto members = members_of_options(name);
    if (!members) return false;
    const auto found = members->find("force-share");
    return found != members->end() && found->second != "on";
}

}  // namespace

std::optional<ImageLocation> source_image(const std::string& name, const SourceOptions& options,
                                          Access access) {
    if (options.image_opts && options.format) {
        print_error("--image-opts and --format are mutually exclusive");
        return std::nullopt;
    }
    if (options.image_opts && options.force_share && contradicts_force_share(name)) {
        print_error("--force-share/-U conflicts with image options");
        return std::nullopt;
    }
    auto image = parse_source(name, options);
    if (!image) {
        print_error(image.error(), fmt::format("Could not open '{}'", printable(name)));
        return std::nullopt;
    }
    image->open.access = access;
    if (access == Access::read_write) image->open.on_finding = print_finding;
    if (options.force_share) image->open.locking = Locking::share;
    return std::move(*image);
}

Error without_open_prefix(const ImageLocation& image, const Error& error) {
    const std::string prefix = fmt::format("Could not open '{}': ", printable(name_for_people(image)));
    Error rest = error;
    if (rest.message.starts_with(prefix)) rest.message.erase(0, prefix.size());
    return rest;
}

int open_error(const std::string& name, const ImageLocation& image, const Error& error) {
    const Error rest = without_open_prefix(image, error);
    const bool is_plain = rest.message == error.message;
    print_error(rest, is_plain ? std::string() : fmt::format("Could not open '{}'", printable(name)));
    return 1;
}

std::optional<std::uint64_t> size_if_writable(const std::string& name, const ImageLocation& source) {
    const auto image = Image::open(source.path, source.open, command_opener());
    if (!image) {
        open_error(name, source, image.error());
        return std::nullopt;
    }
    if (!source.open.format && (*image)->format_name() == "raw") {
        fmt::print(
            stderr,
            "WARNING: Image format was not specified for '{}' and probing guessed raw.\n"
            "         Automatically detecting the format is dangerous for raw images, write operations on "
            "block 0 will be restricted.\n"
            "         Specify the 'raw' format explicitly to remove the restrictions.\n",
            printable(source.path));
    }
    return (*image)->size();
}

std::optional<std::string> parse_object(std::string_view definition) {
    const std::string_view type = definition.substr(0, definition.find(','));
    if (type != "secret") {
        print_errorf("Parameter 'qom-type' does not accept value '{}'", type);
        return std::nullopt;
    }
    constexpr std::string_view key = ",id=";
    const std::size_t at = definition.find(key);
    if (at == definition.npos) {
        print_error("Parameter 'id' is missing");
        return std::nullopt;
    }
    const std::string_view id = definition.substr(at + key.size());
    return std::string(id.substr(0, id.find(',')));
}

std::optional<int> take_source_option(SourceOptions& source, int key, const Arguments& arguments) {
    switch (key) {
        case 'f':
            source.format = arguments.value();
            return std::nullopt;
        case 'U':
            source.force_share = true;
            return std::nullopt;
        case object:
            if (!parse_object(arguments.value())) return 1;
            return std::nullopt;
        case image_opts:
            source.image_opts = true;
            return std::nullopt;
        default:
            return arguments.status();
    }
}

}  // namespace qimg::cli
