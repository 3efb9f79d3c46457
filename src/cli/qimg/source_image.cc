// Image names: plain, with a protocol, as JSON, as an option list.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/source_image.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/qimg/json_text.hpp"
#include "cli/qimg/messages.hpp"
#include "cli/qimg/option_list.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

// A description of an image with nested members as "file.filename"; a member that is null has no value.
using Members = std::map<std::string, std::optional<std::string>>;

std::unexpected<Error> refuse(std::string text) {
    return fail(ErrorKind::invalid_argument, std::move(text));
}

Result<SourceImage> plain_file(std::string path, const std::optional<std::string>& format) {
    if (path.empty()) return refuse("The 'file' block driver requires a file name");
    SourceImage image{std::move(path), {}};
    image.open.format = format;
    return image;
}

void flatten(const Json& value, const std::string& prefix, Members& members) {
    for (const auto& [name, member] : value.items()) {
        if (member.is_structured()) {
            flatten(member, prefix + name + ".", members);
        } else if (member.is_null()) {
            members[prefix + name] = std::nullopt;
        } else {
            members[prefix + name] = member.is_string() ? member.get<std::string>() : member.dump();
        }
    }
}

Result<Members> members_of_json(std::string_view text) {
    const Json value = Json::parse(text, nullptr, false);
    if (value.is_discarded()) return refuse("Could not parse the JSON options: JSON parse error");
    if (!value.is_object()) return refuse("Could not parse the JSON options: Invalid JSON object given");
    Members members;
    flatten(value, "", members);
    return members;
}

Result<Members> members_of_options(const std::string& text) {
    OptionList list;
    const bool is_node_name = text.find('=') == text.npos;
    if (is_node_name || !list.add(text)) {
        return refuse(fmt::format("Cannot find device='{0}' nor node-name='{0}'", text));
    }
    Members members;
    for (const auto& [name, value] : list.items())
        members[name] = value.value_or("on");
    return members;
}

std::optional<std::string> take(Members& members, const std::string& name) {
    const auto node = members.extract(name);
    return node ? node.mapped() : std::nullopt;
}

// What only says how fast or under which name a virtual machine would use the image.
bool is_without_effect(std::string_view name) {
    constexpr std::array names = {"aio",           "auto-read-only", "cache.direct", "cache.no-flush",
                                  "detect-zeroes", "discard",        "node-name",    "read-only"};
    if (name.starts_with("file.")) name.remove_prefix(5);
    return std::find(names.begin(), names.end(), name) != names.end();
}

Result<SourceImage> image_of_members(Members members, const SourceOptions& options) {
    std::optional<std::string> driver = take(members, "driver");
    const bool bare_file = driver == "file" || driver == "host_device";
    if (const auto node = take(members, "file")) {
        return refuse(fmt::format("Cannot find device='{0}' nor node-name='{0}'", *node));
    }
    const auto protocol = take(members, bare_file ? "" : "file.driver").value_or("file");
    if (protocol != "file" && protocol != "host_device")
        return refuse(fmt::format("Unknown driver '{}'", protocol));
    const auto path = take(members, bare_file ? "filename" : "file.filename");
    if (!path && !bare_file) return refuse("A block device must be specified for \"file\"");

    if (bare_file) driver = "raw";
    auto image = plain_file(path.value_or(""), options.format ? options.format : driver);
    if (!image) return image;
    if (const auto backing = members.find("backing"); backing != members.end()) {
        if (backing->second)
            return refuse(fmt::format("Cannot find device='{0}' nor node-name='{0}'", *backing->second));
        image->open.with_backing = false;
        members.erase(backing);
    }
    const auto locking = take(members, bare_file ? "locking" : "file.locking");
    if (locking == "off" || take(members, "force-share").value_or("off") != "off") {
        image->open.locking = Locking::share;
    }
    std::erase_if(members, [](const auto& member) { return is_without_effect(member.first); });
    if (!members.empty()) {
        return refuse(fmt::format("Block {} '{}' does not support the option '{}'",
                                  bare_file ? "protocol" : "format", driver.value_or("raw"),
                                  members.begin()->first));
    }
    return image;
}

// "NAME:" before any slash is a protocol, whether or not a file of that name exists.
std::optional<std::string> protocol_of(const std::string& name) {
    const std::size_t end = name.find_first_of(":/");
    if (end == name.npos || name[end] == '/') return std::nullopt;
    return name.substr(0, end);
}

}  // namespace

Result<SourceImage> parse_source(const std::string& name, const SourceOptions& options) {
    constexpr std::string_view json = "json:";
    const bool is_json = !options.image_opts && name.starts_with(json);
    if (is_json || options.image_opts) {
        auto members = is_json ? members_of_json(name.substr(json.size())) : members_of_options(name);
        if (!members) return std::unexpected<Error>(members.error());
        return image_of_members(std::move(*members), options);
    }
    const auto protocol = protocol_of(name);
    if (!protocol) return plain_file(name, options.format);
    if (*protocol != "file") return refuse(fmt::format("Unknown protocol '{}'", *protocol));
    return plain_file(name.substr(protocol->size() + 1), options.format);
}

std::optional<SourceImage> source_image(const std::string& name, const SourceOptions& options,
                                        Access access) {
    if (options.image_opts && options.format) {
        print_error("--image-opts and --format are mutually exclusive");
        return std::nullopt;
    }
    auto image = parse_source(name, options);
    if (!image) {
        print_error(image.error(), fmt::format("Could not open '{}'", printable(name)));
        return std::nullopt;
    }
    image->open.access = access;
    if (options.force_share) image->open.locking = Locking::share;
    return std::move(*image);
}

Error without_open_prefix(const SourceImage& image, const Error& error) {
    const std::string prefix = fmt::format("Could not open '{}': ", printable(image.path));
    Error rest = error;
    if (rest.message.starts_with(prefix)) rest.message.erase(0, prefix.size());
    return rest;
}

int open_error(const std::string& name, const SourceImage& image, const Error& error) {
    const Error rest = without_open_prefix(image, error);
    const bool is_plain = rest.message == error.message;
    print_error(rest, is_plain ? std::string() : fmt::format("Could not open '{}'", printable(name)));
    return 1;
}

std::optional<std::uint64_t> size_if_writable(const std::string& name, const SourceImage& source) {
    const auto image = Image::open(source.path, source.open);
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

bool accept_object(std::string_view definition) {
    const std::string_view type = definition.substr(0, definition.find(','));
    if (type != "secret") {
        print_errorf("Parameter 'qom-type' does not accept value '{}'", type);
        return false;
    }
    if (definition.find(",id=") == definition.npos) {
        print_error("Parameter 'id' is missing");
        return false;
    }
    return true;
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
            if (!accept_object(arguments.value())) return 1;
            return std::nullopt;
        case image_opts:
            source.image_opts = true;
            return std::nullopt;
        default:
            return arguments.status();
    }
}

}  // namespace qimg::cli
