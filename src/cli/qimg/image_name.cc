// From a description of block nodes to a location.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/image_name.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "cli/qimg/blkdebug.hpp"
#include "cli/qimg/json_text.hpp"
#include "cli/qimg/option_list.hpp"
#include "qimg/printable.hpp"
#include "qimg/size_text.hpp"

namespace qimg::cli {

namespace {

std::unexpected<Error> refuse(std::string text) {
    return fail(ErrorKind::invalid_argument, std::move(text));
}

std::unexpected<Error> no_such_node(const std::string& name) {
    return refuse(fmt::format("Cannot find device='{0}' nor node-name='{0}'", name));
}

std::unexpected<Error> as_it_is(Error error) {
    return std::unexpected<Error>(std::move(error));
}

// QEMU also takes strings in single quotes.
std::string with_double_quotes(std::string_view text) {
    std::string out;
    char quote = '\0';
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quote != '\0' && c == '\\' && i + 1 < text.size()) {
            if (text[i + 1] != '\'') out += c;
            out += text[++i];
        } else if (quote == '\0' && (c == '"' || c == '\'')) {
            quote = c;
            out += '"';
        } else if (c == quote) {
            quote = '\0';
            out += '"';
        } else if (c == '"') {
            out += "\\\"";
        } else {
            out += c;
        }
    }
    return out;
}

// QEMU's limit; flatten() calls itself that often.
constexpr int json_depth_max = 1024;

void flatten(const Json& value, const std::string& prefix, NodeMembers& members) {
    std::size_t index = 0;
    for (const auto& [key, member] : value.items()) {
        const std::string name = prefix + (value.is_array() ? fmt::format("{}", index++) : key);
        if (member.is_structured()) {
            flatten(member, name + ".", members);
        } else if (member.is_null()) {
            members[name] = std::nullopt;
        } else if (member.is_boolean()) {
            members[name] = member.get<bool>() ? "on" : "off";
        } else {
            members[name] = member.is_string() ? member.get<std::string>() : member.dump();
        }
    }
}

std::optional<std::string> take(NodeMembers& members, const std::string& name) {
    const auto node = members.extract(name);
    return node ? node.mapped() : std::nullopt;
}

// The members "GROUP.x" as "x".
NodeMembers take_group(NodeMembers& members, const std::string& group) {
    NodeMembers taken;
    const std::string prefix = group + ".";
    for (auto member = members.lower_bound(prefix);
         member != members.end() && member->first.starts_with(prefix);) {
        taken.emplace(member->first.substr(prefix.size()), member->second);
        member = members.erase(member);
    }
    return taken;
}

// What only says how fast, under which name or how carefully QEMU would use the image.
bool is_without_effect(std::string_view name) {
    constexpr std::array names = {"aio",
                                  "auto-read-only",
                                  "cache.direct",
                                  "cache.no-flush",
                                  "detect-zeroes",
                                  "discard",
                                  "node-name",
                                  "read-only",
                                  "check-cache-dropped",
                                  "drop-cache",
                                  "lazy-refcounts",
                                  "pass-discard-request",
                                  "pass-discard-snapshot",
                                  "pass-discard-other",
                                  "discard-no-unref",
                                  "overlap-check",
                                  "cache-size",
                                  "l2-cache-size",
                                  "l2-cache-entry-size",
                                  "refcount-cache-size",
                                  "cache-clean-interval"};
    return std::find(names.begin(), names.end(), name) != names.end() || name.starts_with("overlap-check.");
}

Result<void> check_nothing_left(const NodeMembers& members, std::string_view kind, std::string_view driver) {
    for (const auto& [name, value] : members) {
        if (is_without_effect(name)) continue;
        return refuse(fmt::format("Block {} '{}' does not support the option '{}'", kind, driver, name));
    }
    return {};
}

Result<std::uint64_t> take_bytes(NodeMembers& members, const std::string& name, std::uint64_t otherwise) {
    const std::optional<std::string> text = take(members, name);
    if (!text) return otherwise;
    std::uint64_t bytes = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), bytes);
    if (error == std::errc() && end == text->data() + text->size()) return bytes;
    const auto parsed = parse_size(*text);
    if (!parsed) return refuse(fmt::format("Parameter '{}' expects a size", name));
    return *parsed;
}

bool is_foreign_protocol(std::string_view name) {
    constexpr std::array protocols = {"nbd",   "nbd+tcp", "nbd+unix", "nbds", "http",
                                      "https", "ftp",     "ftps",     "ssh",  "rbd",
                                      "nfs",   "iscsi",   "gluster",  "fat",  "blkverify"};
    return std::find(protocols.begin(), protocols.end(), name) != protocols.end();
}

bool is_file_driver(std::string_view driver) {
    constexpr std::array drivers = {"file", "host_device", "null-co", "null-aio"};
    return std::find(drivers.begin(), drivers.end(), driver) != drivers.end();
}

// A location in the making.
struct Making {
    ImageLocation location;
    Assembly assembly;
    bool is_assembled = false;  // a plain path does not say it all
    bool needs_name = false;    // nor does any name but the one the user gave
};

Result<void> read_file_node(NodeMembers members, Making& making);

Result<void> read_plain_file(NodeMembers members, const std::string& driver, Making& making) {
    const auto path = take(members, "filename");
    if (!path || path->empty()) {
        return refuse(fmt::format("The '{}' block driver requires a file name", driver));
    }
    making.location.path = *path;
    if (path->starts_with("file:")) {
        making.location.path = path->substr(5);
        // so that the rest is no name with a protocol again
        if (protocol_of(making.location.path)) making.location.path.insert(0, "./");
    }
    const bool unlocked = take(members, "locking").value_or("auto") == "off";
    if (unlocked || take(members, "force-share").value_or("off") == "on") {
        making.location.open.locking = Locking::share;
    }
    return check_nothing_left(members, "protocol", driver);
}

Result<void> read_null(NodeMembers members, const std::string& driver, Making& making) {
    const bool has_size = members.contains("size");
    const auto bytes = take_bytes(members, "size", GiB);
    if (!bytes) return as_it_is(bytes.error());
    take(members, "read-zeroes");
    take(members, "latency-ns");
    take(members, "force-share");
    making.assembly.null_bytes = *bytes;
    making.location.path = driver + "://";
    making.is_assembled = true;
    making.needs_name = making.needs_name || has_size;
    return check_nothing_left(members, "protocol", driver);
}

// A file in front of which calls fail.
Result<void> read_faulty_file(NodeMembers members, Making& making) {
    making.is_assembled = true;
    making.assembly.tells_disk_size = false;
    const std::string config = take(members, "config").value_or("");
    if (!config.empty()) {
        const auto read = read_blkdebug_config(config, BlkdebugPlace::under_format, making.assembly);
        if (!read) return as_it_is(read.error());
    }
    const auto has_options = take_blkdebug_options(members, BlkdebugPlace::under_format, making.assembly);
    if (!has_options) return as_it_is(has_options.error());
    if (const auto node = take(members, "image")) return no_such_node(*node);
    NodeMembers image = take_group(members, "image");
    if (const auto name = take(members, "x-image")) image["filename"] = name;
    if (image.empty()) return refuse("A block device must be specified for \"image\"");
    if (const auto read = read_file_node(std::move(image), making); !read) return read;
    making.needs_name = making.needs_name || *has_options;
    making.assembly.name = fmt::format("blkdebug:{}:{}", config, making.location.path);
    return check_nothing_left(members, "protocol", "blkdebug");
}

// Of children that all agree, or of which one is enough, the first tells what is in all.
Result<void> read_quorum(NodeMembers members, Making& making) {
    if (take(members, "vote-threshold") != "1") {
        return fail(ErrorKind::unsupported, "quorum: only a vote-threshold of 1 is supported");
    }
    NodeMembers children = take_group(members, "children");
    NodeMembers first = take_group(children, "0");
    if (first.empty()) return refuse("Number of provided children must be 1 or more");
    if (const auto read = read_file_node(std::move(first), making); !read) return read;
    making.is_assembled = making.needs_name = true;
    making.assembly.has_folder = false;
    return check_nothing_left(members, "protocol", "quorum");
}

// What stands below a format: a file, or what is in its place.
Result<void> read_file_node(NodeMembers members, Making& making) {
    const std::string driver = take(members, "driver").value_or("file");
    if (driver == "file" || driver == "host_device")
        return read_plain_file(std::move(members), driver, making);
    if (driver == "null-co" || driver == "null-aio") return read_null(std::move(members), driver, making);
    if (driver == "blkdebug") return read_faulty_file(std::move(members), making);
    if (driver == "quorum") return read_quorum(std::move(members), making);
    return refuse(fmt::format("Unknown driver '{}'", printable(driver)));
}

Result<void> read_format_node(NodeMembers members, Making& making);

// An image in front of which calls fail.
Result<void> read_faulty_image(NodeMembers members, Making& making) {
    const auto has_options = take_blkdebug_options(members, BlkdebugPlace::over_format, making.assembly);
    if (!has_options) return as_it_is(has_options.error());
    if (const auto config = take(members, "config")) {
        const auto read = read_blkdebug_config(*config, BlkdebugPlace::over_format, making.assembly);
        if (!read) return as_it_is(read.error());
    }
    NodeMembers image = take_group(members, "image");
    if (image.empty()) return refuse("A block device must be specified for \"image\"");
    if (const auto read = read_format_node(std::move(image), making); !read) return read;
    making.is_assembled = true;
    making.needs_name = making.needs_name || *has_options;
    making.assembly.driver = "blkdebug";
    making.assembly.tells_disk_size = false;
    if (making.assembly.name.empty())
        making.assembly.name = fmt::format("blkdebug::{}", making.location.path);
    return check_nothing_left(members, "format", "blkdebug");
}

Result<void> read_references(NodeMembers& members, Making& making) {
    if (const auto backing = members.find("backing"); backing != members.end()) {
        if (backing->second) return no_such_node(*backing->second);
        making.location.open.with_backing = false;
        members.erase(backing);
    }
    if (NodeMembers backing = take_group(members, "backing"); !backing.empty()) {
        const auto below = location_of_members(std::move(backing), "");
        if (!below) return as_it_is(below.error());
        making.assembly.backing = std::make_shared<const ImageLocation>(*below);
        making.is_assembled = making.needs_name = true;
    }
    if (NodeMembers file = take_group(members, "data-file"); !file.empty()) {
        Making data;
        if (const auto read = read_file_node(std::move(file), data); !read) return read;
        const bool is_file = !data.assembly.null_bytes && data.assembly.file_faults.empty() &&
                             data.assembly.guest_faults.empty();
        if (!is_file) return fail(ErrorKind::unsupported, "data-file: only a file is supported");
        making.assembly.data_file = data.location.path;
        making.is_assembled = true;
    }
    return {};
}

Result<void> read_raw_part(NodeMembers& members, Making& making) {
    const bool is_part = members.contains("offset") || members.contains("size");
    const auto start = take_bytes(members, "offset", 0);
    if (!start) return as_it_is(start.error());
    making.assembly.raw_start = *start;
    if (members.contains("size")) {
        const auto bytes = take_bytes(members, "size", 0);
        if (!bytes) return as_it_is(bytes.error());
        making.assembly.raw_bytes = *bytes;
    }
    making.is_assembled = making.is_assembled || is_part;
    making.needs_name = making.needs_name || is_part;
    return {};
}

Result<void> read_format_node(NodeMembers members, Making& making) {
    const std::optional<std::string> driver = take(members, "driver");
    if (driver == "blkdebug") return read_faulty_image(std::move(members), making);
    if (driver && is_file_driver(*driver)) {
        members["driver"] = driver;
        making.location.open.format = "raw";
        making.assembly.driver = *driver;
        making.is_assembled = true;
        return read_file_node(std::move(members), making);
    }
    making.location.open.format = driver;
    if (const auto node = take(members, "file")) return no_such_node(*node);
    NodeMembers file = take_group(members, "file");
    const auto filename = take(members, "filename");
    if (file.empty() && !filename) return refuse("A block device must be specified for \"file\"");
    if (filename) file["filename"] = filename;
    const bool is_direct = take(members, "cache.direct").value_or("off") == "on" ||
                           take(file, "cache.direct").value_or("off") == "on";
    if (is_direct && driver == "raw") making.assembly.whole_sectors = making.is_assembled = true;
    if (const auto read = read_file_node(std::move(file), making); !read) return read;
    if (take(members, "force-share").value_or("off") == "on") making.location.open.locking = Locking::share;
    if (const auto read = read_references(members, making); !read) return read;
    if (driver == "raw") {
        if (const auto read = read_raw_part(members, making); !read) return read;
    }
    return check_nothing_left(members, "format", driver.value_or("raw"));
}

ImageLocation finish(Making making, const std::string& name) {
    if (!making.is_assembled) return std::move(making.location);
    if (making.needs_name) making.assembly.name = name;
    if (making.assembly.name.empty()) making.assembly.name = making.location.path;
    making.location.open.assembly = std::make_shared<const Assembly>(std::move(making.assembly));
    return std::move(making.location);
}

}  // namespace

Result<NodeMembers> members_of_json(std::string_view text) {
    int deepest = 0;
    const auto note_depth = [&](int depth, Json::parse_event_t, Json&) {
        deepest = std::max(deepest, depth);
        return true;
    };
    const Json value = Json::parse(with_double_quotes(text), note_depth, false);
    if (deepest > json_depth_max)
        return refuse("Could not parse the JSON options: JSON nesting depth limit exceeded");
    if (value.is_discarded()) return refuse("Could not parse the JSON options: JSON parse error");
    if (!value.is_object()) return refuse("Could not parse the JSON options: Invalid JSON object given");
    NodeMembers members;
    flatten(value, "", members);
    return members;
}

Result<NodeMembers> members_of_options(const std::string& text) {
    OptionList list;
    const bool is_node_name = text.find('=') == text.npos;
    if (is_node_name || !list.add(text)) return no_such_node(text);
    NodeMembers members;
    for (const auto& [name, value] : list.items())
        members[name] = value.value_or("on");
    return members;
}

Result<ImageLocation> location_of_members(NodeMembers members, const std::string& name) {
    Making making;
    if (const auto read = read_format_node(std::move(members), making); !read) return as_it_is(read.error());
    return finish(std::move(making), name);
}

Result<ImageLocation> location_of_name(const std::string& name) {
    const std::optional<std::string> protocol = protocol_of(name);
    const std::string rest = protocol ? name.substr(protocol->size() + 1) : name;
    Making making;
    Result<void> read;
    if (!protocol || protocol == "file") {
        read = read_plain_file({{"filename", name}}, "file", making);
    } else if ((protocol == "null-co" || protocol == "null-aio") && rest == "//") {
        read = read_null({}, *protocol, making);
    } else if (protocol == "blkdebug" && rest.find(':') != rest.npos) {
        const std::size_t colon = rest.find(':');
        read = read_faulty_file({{"config", rest.substr(0, colon)}, {"x-image", rest.substr(colon + 1)}},
                                making);
    } else if (is_foreign_protocol(*protocol)) {
        return fail(ErrorKind::unsupported,
                    fmt::format("The protocol '{}' is not supported, only files are", printable(*protocol)));
    } else {
        return refuse(fmt::format("Unknown protocol '{}'", printable(*protocol)));
    }
    if (!read) return as_it_is(read.error());
    return finish(std::move(making), name);
}

}  // namespace qimg::cli
