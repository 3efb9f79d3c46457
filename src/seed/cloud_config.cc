// The top-level keys of cloud-config, from cloud-init's module reference (26.2), and those of older releases.
// SPDX-License-Identifier: Apache-2.0
#include "seed/cloud_config.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace qimg::seed {

namespace {

// Sorted, for the binary search below.
constexpr std::string_view known_keys[] = {
    "allow_public_ssh_keys",
    "ansible",
    "apk_repos",
    "apt",
    "apt_mirror",
    "apt_pipelining",
    "apt_preserve_sources_list",
    "apt_proxy",
    "apt_reboot_if_required",
    "apt_sources",
    "apt_update",
    "apt_upgrade",
    "authkey_hash",
    "autoinstall",
    "bootcmd",
    "byobu_by_default",
    "ca-certs",
    "ca_certs",
    "chef",
    "chpasswd",
    "cloud_config_modules",
    "cloud_final_modules",
    "cloud_init_modules",
    "create_hostname_file",
    "datasource",
    "datasource_list",
    "debug",
    "def_log_file",
    "device_aliases",
    "disable_ec2_metadata",
    "disable_piwiz",
    "disable_root",
    "disable_root_opts",
    "disk_setup",
    "drivers",
    "enable_rpi_connect",
    "fan",
    "final_message",
    "fqdn",
    "fs_setup",
    "groups",
    "growpart",
    "grub-dpkg",
    "grub_dpkg",
    "hostname",
    "keyboard",
    "landscape",
    "launch-index",
    "locale",
    "locale_configfile",
    "log_cfgs",
    "lxd",
    "manage-resolv-conf",
    "manage_etc_hosts",
    "manage_resolv_conf",
    "manual_cache_clean",
    "mcollective",
    "merge_how",
    "merge_type",
    "migrate",
    "mount_default_fields",
    "mounts",
    "no_ssh_fingerprints",
    "ntp",
    "output",
    "package_reboot_if_required",
    "package_update",
    "package_upgrade",
    "packages",
    "password",
    "phone_home",
    "power_state",
    "prefer_fqdn_over_hostname",
    "preserve_hostname",
    "puppet",
    "random_seed",
    "reporting",
    "resize_rootfs",
    "resolv_conf",
    "rh_subscription",
    "rpi_interfaces",
    "rpi_userconf",
    "rsyslog",
    "runcmd",
    "salt_minion",
    "snap",
    "snappy",
    "spacewalk",
    "ssh",
    "ssh_authorized_keys",
    "ssh_deletekeys",
    "ssh_fp_console_blacklist",
    "ssh_genkeytypes",
    "ssh_import_id",
    "ssh_key_console_blacklist",
    "ssh_keys",
    "ssh_publish_hostkeys",
    "ssh_pwauth",
    "ssh_quiet_keygen",
    "ssh_svcname",
    "swap",
    "syslog_fix_perms",
    "system_info",
    "timezone",
    "ubuntu_advantage",
    "ubuntu_pro",
    "unverified_modules",
    "update_etc_hosts",
    "updates",
    "user",
    "users",
    "vendor_data",
    "vendor_data2",
    "version",
    "warnings",
    "wireguard",
    "write_files",
    "yum_repo_dir",
    "yum_repos",
    "zypper",
};
static_assert(std::is_sorted(std::begin(known_keys), std::end(known_keys)));

constexpr std::size_t key_max = 40;  // a longer key is none of the known ones, however it is misspelled

// Roughly one slip in four characters.
std::size_t distance_allowed(std::string_view key) {
    return std::clamp<std::size_t>(key.size() / 4, 1, 3);
}

char folded(char c) {
    if (c == '-') return '_';
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
    // three rows of the table: this one, the one before, and the one before that for swapped neighbours
    std::vector<std::size_t> before(b.size() + 1), previous(b.size() + 1), row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j)
        previous[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            row[j] = std::min({replaced, previous[j] + 1, row[j - 1] + 1});
            const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
        }
        before.swap(previous);
        previous.swap(row);
    }
    return previous[b.size()];
}

bool is_cloud_config_key(std::string_view key) {
    return std::ranges::binary_search(known_keys, key);
}

std::optional<std::string_view> nearest_cloud_config_key(std::string_view key) {
    if (key.size() > key_max) return std::nullopt;
    std::string spelled(key);
    std::ranges::transform(spelled, spelled.begin(), folded);
    std::optional<std::string_view> nearest;
    std::size_t least = distance_allowed(key) + 1;
    for (std::string_view known : known_keys) {
        const std::size_t distance = edit_distance(spelled, known);
        if (distance >= least) continue;
        least = distance;
        nearest = known;
    }
    return nearest;
}

std::vector<std::string> unknown_key_warnings(const SeedText& text, const YamlOutline& outline) {
    constexpr std::size_t warnings_max = 20;  // a file in another language altogether
    std::vector<std::string> warnings;
    for (const YamlEntry& entry : outline.entries) {
        if (!entry.parent.empty() || entry.key == "<<" || is_cloud_config_key(entry.key)) continue;
        if (warnings.size() == warnings_max) break;
        std::string warning =
            fmt::format("{}:{}:{}: unknown key '{}': cloud-init will ignore it", printable(text.name),
                        entry.at.line, entry.at.column, printable(entry.key));
        if (const auto meant = nearest_cloud_config_key(entry.key))
            warning += fmt::format("; did you mean '{}'?", *meant);
        warnings.push_back(std::move(warning));
    }
    return warnings;
}

}  // namespace qimg::seed
