// vmbox.json: written whole, read with every member checked, because people edit files.
// SPDX-License-Identifier: Apache-2.0
#include "vm/record.hpp"

#include <sys/random.h>

#include <array>
#include <ctime>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::vm {

namespace {

using Json = nlohmann::ordered_json;
constexpr unsigned record_version = 1;

// Reads members of one JSON object and remembers the first that is not as it must be.
class Members {
  public:
    Members(const Json& object, const std::string& path) : object_(object), path_(path) {}

    std::string text(const char* name) {
        const auto found = object_.find(name);
        if (found != object_.end() && found->is_string()) return found->get<std::string>();
        wrong(name, "a string");
        return {};
    }
    std::uint64_t number(const char* name, std::uint64_t largest) {
        const auto found = object_.find(name);
        if (found != object_.end() && found->is_number_unsigned() && found->get<std::uint64_t>() <= largest) {
            return found->get<std::uint64_t>();
        }
        wrong(name, "a number in range");
        return 0;
    }
    // Sandboxes that are older than it have none.
    bool flag(const char* name) {
        const auto found = object_.find(name);
        if (found == object_.end()) return false;
        if (!found->is_boolean()) wrong(name, "true or false");
        return found->is_boolean() && found->get<bool>();
    }
    std::vector<Forward> forwards(const char* name) {
        std::vector<Forward> list;
        const auto found = object_.find(name);
        if (found == object_.end() || !found->is_array()) wrong(name, "a list");
        if (!problem_.empty()) return list;
        for (const Json& entry : *found) {
            const auto forward =
                entry.is_string() ? parse_forward(entry.get<std::string>()) : parse_forward("");
            if (!forward) wrong(name, "a list of HOST:GUEST ports");
            list.push_back(forward.value_or(Forward{}));
        }
        return list;
    }
    void wrong(const char* name, const char* expected) {
        if (problem_.empty()) problem_ = fmt::format("{}: {} is not {}", printable(path_), name, expected);
    }
    const std::string& problem() const { return problem_; }

  private:
    const Json& object_;
    const std::string& path_;
    std::string problem_;
};

template <std::size_t Size>
std::array<unsigned char, Size> random_bytes() {
    std::array<unsigned char, Size> bytes{};
    std::size_t filled = 0;
    while (filled < Size) {
        const ssize_t got = ::getrandom(bytes.data() + filled, Size - filled, 0);
        if (got > 0) filled += static_cast<std::size_t>(got);
    }
    return bytes;
}

}  // namespace

std::string record_text(const Record& record) {
    Json forwards = Json::array();
    for (const Forward& forward : record.machine.forwards) {
        forwards.push_back(fmt::format("{}:{}", forward.host_port, forward.guest_port));
    }
    Json object;
    object["version"] = record_version;
    object["name"] = record.name;
    object["created"] = record.created;
    object["base"] = record.base;
    object["base-format"] = record.base_format;
    object["disk-size"] = record.disk_bytes;
    object["expand"] = record.expand;
    object["memory"] = record.machine.memory_bytes;
    object["cpus"] = record.machine.cpus;
    object["network"] = record.machine.network;
    object["forwards"] = std::move(forwards);
    object["seed-bus"] = record.machine.seed_bus == SeedBus::scsi ? "scsi" : "virtio";
    object["connection"] = record.connection;
    object["uuid"] = record.uuid;
    object["mac"] = record.mac;
    object["started"] = static_cast<std::uint64_t>(record.started);
    object["accel"] = std::string(accel_name(record.accel));
    // paths need not be UTF-8, JSON must
    return object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<Record> parse_record(const std::string& path, const std::string& text) {
    const Json object = Json::parse(text, nullptr, false);
    if (!object.is_object()) return failf(ErrorKind::corrupt, "{}: no JSON object", printable(path));
    Members members(object, path);
    if (members.number("version", std::numeric_limits<std::uint64_t>::max()) > record_version) {
        return failf(ErrorKind::unsupported, "{}: written by a newer vmbox", printable(path));
    }
    Record record;
    record.name = members.text("name");
    record.created = members.text("created");
    record.base = members.text("base");
    record.base_format = members.text("base-format");
    record.disk_bytes = members.number("disk-size", std::numeric_limits<std::int64_t>::max());
    record.expand = members.flag("expand");
    record.machine.memory_bytes = members.number("memory", std::numeric_limits<std::int64_t>::max());
    record.machine.cpus = static_cast<unsigned>(members.number("cpus", 4096));
    record.machine.network = members.text("network");
    record.machine.forwards = members.forwards("forwards");
    record.machine.seed_bus = members.text("seed-bus") == "scsi" ? SeedBus::scsi : SeedBus::virtio;
    record.connection = members.text("connection");
    record.uuid = members.text("uuid");
    record.mac = members.text("mac");
    record.started =
        static_cast<std::int64_t>(members.number("started", std::numeric_limits<std::int64_t>::max()));
    const std::string accel = members.text("accel");
    record.accel = accel == "kvm" ? Accel::kvm : accel == "tcg" ? Accel::tcg : Accel::automatic;
    if (!members.problem().empty()) return fail(ErrorKind::corrupt, members.problem());
    return record;
}

std::string random_uuid() {
    auto bytes = random_bytes<16>();
    bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);  // RFC 4122 4.4
    bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        text += fmt::format("{:02x}", bytes[i]);
    }
    return text;
}

std::string random_mac() {
    const auto bytes = random_bytes<3>();
    return fmt::format("52:54:00:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2]);
}

std::string iso8601(std::int64_t seconds) {
    const std::time_t time = seconds;
    std::tm utc{};
    ::gmtime_r(&time, &utc);
    std::array<char, 32> text{};
    const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
    return std::string(text.data(), length);
}

std::string_view accel_name(Accel accel) {
    switch (accel) {
        case Accel::kvm:
            return "kvm";
        case Accel::tcg:
            return "tcg";
        default:
            return "auto";
    }
}

}  // namespace qimg::vm
