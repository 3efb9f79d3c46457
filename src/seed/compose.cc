// From options to the files of a seed: checks every text, then puts together what the guest will read.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "base/text.hpp"
#include "base/try.hpp"
#include "qimg/seed.hpp"
#include "seed/digest.hpp"
#include "seed/login_config.hpp"
#include "seed/meta_data.hpp"
#include "seed/mime.hpp"
#include "seed/network_config.hpp"
#include "seed/user_data.hpp"

namespace qimg {

namespace {

using namespace seed;

constexpr std::size_t instance_id_digits = 16;
constexpr std::string_view interfaces_key = "network-interfaces";

Result<void> check_size(const SeedText& text) {
    if (text.text.size() <= seed_file_bytes_max) return {};
    return failf(ErrorKind::no_space, "{}: more than {} MiB: too large for a seed", printable(text.name),
                 seed_file_bytes_max / MiB);
}

Result<void> check_options(const SeedOptions& options) {
    if (!options.hostname.empty() && !is_hostname(options.hostname)) {
        return failf(ErrorKind::invalid_argument,
                     "host name '{}': letters, digits, '-' and dots only, 63 characters between dots",
                     printable(options.hostname));
    }
    constexpr std::array<std::string_view, 4> modes{"", "local", "net", "disabled"};
    if (std::ranges::find(modes, std::string_view(options.dsmode)) == modes.end()) {
        return failf(ErrorKind::invalid_argument, "dsmode '{}': must be local, net or disabled",
                     printable(options.dsmode));
    }
    const auto blank = [](char c) { return (c >= 0 && c <= 0x20) || c == 0x7f; };
    if (std::ranges::any_of(options.instance_id, blank)) {
        return failf(ErrorKind::invalid_argument,
                     "instance id '{}': must not hold white space or control characters",
                     printable(options.instance_id));
    }
    for (const SeedText& text : options.user_data)
        TRY(check_size(text));
    for (const auto* text :
         {&options.meta_data, &options.network_config, &options.vendor_data, &options.interfaces}) {
        if (*text) TRY(check_size(**text));
    }
    return {};
}

// What the salt of a password may depend on: all that the seed says, but not the password.
Digest digest_without_password(const SeedOptions& options) {
    std::vector<std::string_view> texts{options.hostname, options.user, options.instance_id, options.dsmode};
    for (const SeedText& text : options.user_data)
        texts.push_back(text.text);
    for (const std::string& key : options.ssh_keys)
        texts.push_back(key);
    for (const auto* text :
         {&options.meta_data, &options.network_config, &options.vendor_data, &options.interfaces}) {
        texts.push_back(*text ? std::string_view((*text)->text) : std::string_view());
    }
    return digest_of(texts);
}

// cloud-init merges cloud-configs key by key and does not look inside: of two values for a key one is lost.
Result<void> check_conflicts(const SeedText& text, const Part& part, const LoginConfig& login) {
    for (const YamlEntry& entry : part.outline.entries) {
        if (!entry.parent.empty() || std::ranges::find(login.keys, entry.key) == login.keys.end()) continue;
        return fail_at(
            text, entry.at,
            fmt::format("'{}' is also set by an option (user, password or SSH key), and cloud-init "
                        "would drop one of the two: keep one",
                        entry.key));
    }
    return {};
}

Result<std::string> compose_user_data(const SeedOptions& options, std::vector<std::string>& warnings) {
    const LoginConfig login = TRY(login_config(options, digest_without_password(options)));
    std::vector<MimePart> parts;
    if (!login.text.empty()) parts.push_back({PartKind::cloud_config, login.text});
    for (const SeedText& text : options.user_data) {
        const Part part = TRY(check_user_data(text));
        TRY(check_conflicts(text, part, login));
        warnings.insert(warnings.end(), part.warnings.begin(), part.warnings.end());
        const bool alone = options.user_data.size() == 1 && login.text.empty();
        if (part.kind != PartKind::empty || alone) parts.push_back({part.kind, text.text});
    }
    if (parts.empty()) return std::string();
    if (parts.size() == 1) return std::string(parts[0].text);
    std::string archive = mime_archive(parts);
    TRY(check_size(SeedText{"user-data", archive}));
    return archive;
}

std::vector<Setting> settings_of(const SeedOptions& options) {
    std::vector<Setting> settings;
    const auto add = [&](std::string_view key, const std::string& value) {
        if (!value.empty()) settings.push_back({std::string(key), value});
    };
    // each goes before the first key of the text: in the end instance-id leads
    if (options.interfaces) add(interfaces_key, options.interfaces->text);
    add("dsmode", options.dsmode);
    add("local-hostname", options.hostname);
    add("instance-id", options.instance_id);
    return settings;
}

// Every byte that the guest will see, so that an edited seed is a new instance to cloud-init.
std::string derived_instance_id(const Seed& seed, std::string_view meta_data) {
    std::vector<std::string_view> texts{meta_data};
    for (const VolumeFile& file : seed.files)
        texts.insert(texts.end(), {file.name, file.contents});
    return "iid-" + hexadecimal(digest_of(texts), instance_id_digits);
}

}  // namespace

Result<Seed> compose_seed(const SeedOptions& options) {
    TRY(check_options(options));
    Seed seed;
    std::string user_data = TRY(compose_user_data(options, seed.warnings));
    seed.files.push_back({"user-data", std::move(user_data)});
    if (options.network_config) {
        TRY(check_network_config(*options.network_config));
        seed.files.push_back({"network-config", options.network_config->text});
    }
    if (options.vendor_data) {
        const Part part = TRY(check_user_data(*options.vendor_data));
        seed.warnings.insert(seed.warnings.end(), part.warnings.begin(), part.warnings.end());
        seed.files.push_back({"vendor-data", options.vendor_data->text});
    }

    const SeedText given = options.meta_data.value_or(SeedText{"meta-data", ""});
    MetaData meta_data = TRY(apply_settings(given, settings_of(options)));
    if (meta_data.instance_id.empty()) {
        const std::string id = derived_instance_id(seed, meta_data.text);
        meta_data = TRY(apply_settings({given.name, meta_data.text}, {{"instance-id", id}}));
    }
    seed.instance_id = meta_data.instance_id;
    seed.files.insert(seed.files.begin() + 1, {"meta-data", meta_data.text});
    return seed;
}

}  // namespace qimg
