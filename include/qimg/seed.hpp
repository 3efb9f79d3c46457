// NoCloud seeds: the small disk from which cloud-init takes its configuration (user-data, meta-data,
// network-config, vendor-data).
//
// A seed is composed (options become the four files, checked for what cloud-init would silently ignore) and
// then written as an ISO 9660 or FAT image. The same options give the same bytes. Clock and environment are
// not consulted. Not part of libqimg, but of libqimg_seed, because it links libiso9660.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qimg/error.hpp"
#include "qimg/storage.hpp"
#include "qimg/units.hpp"
#include "qimg/volume.hpp"

namespace qimg {

// The largest file that a seed takes, and the largest that it makes of several parts.
inline constexpr std::uint64_t seed_file_bytes_max = 16 * MiB;

// The time that files and volumes bear when nobody names another: 2020-01-01 00:00:00 UTC.
inline constexpr std::int64_t seed_default_time = 1'577'836'800;

enum class SeedFilesystem { iso9660, vfat };

// A text as somebody wrote it; `name` (its path) is for messages.
struct SeedText {
    std::string name;
    std::string text;
};

struct SeedOptions {
    // Parts in the order in which cloud-init handles them. One part alone is written as it is; several, or
    // one beside a configuration made from the options below, become a MIME multi-part archive.
    std::vector<SeedText> user_data;
    std::optional<SeedText> meta_data;       // keys set by the options below are added or replaced
    std::optional<SeedText> network_config;  // version 1 or 2, with or without the outer `network:`
    std::optional<SeedText> vendor_data;
    std::optional<SeedText> interfaces;  // an ENI text, for meta-data's network-interfaces

    std::string instance_id;  // empty: meta-data's own, or else derived from the content
    std::string hostname;     // empty: none
    std::string dsmode;       // empty, "local", "net" or "disabled"

    std::string user;      // empty: the image's default user; otherwise this user is made, with sudo
    std::string password;  // clear text (stored only as a SHA-512 crypt hash), or a crypt hash; empty: none
    std::vector<std::string> ssh_keys;  // public key lines, as in authorized_keys

    SeedFilesystem filesystem = SeedFilesystem::iso9660;
    std::int64_t time = seed_default_time;  // seconds since 1970, of the files and the volume
};

// The files of a seed, ready to be written.
struct Seed {
    std::vector<VolumeFile> files;  // user-data, meta-data, then network-config and vendor-data where given
    std::string instance_id;
    std::vector<std::string> warnings;  // one line each: what cloud-init will take, but was hardly meant
};

struct SeedReport {
    std::string instance_id;
    std::uint64_t bytes = 0;  // size of the image
    std::vector<std::string> warnings;
};

// Makes and checks the files. Errors: invalid_argument (an option), corrupt (a text that cloud-init would
// ignore or refuse, with file, line and column), no_space (a text past seed_file_bytes_max).
Result<Seed> compose_seed(const SeedOptions& options);

// Writes the image of a composed seed, volume id `cidata`, onto an empty storage.
Result<void> write_seed(const Seed& seed, SeedFilesystem filesystem, std::int64_t time, Storage& onto);

// Composes a seed and writes it to `path`, which gets its content in one step: on an error no file is made
// and an older one keeps its bytes.
Result<SeedReport> make_seed(const SeedOptions& options, const std::string& path);

// Reads a text for SeedOptions: a file, FIFO or device, or standard input for `-`. Errors: those of the
// system, and no_space when there is more than seed_file_bytes_max.
Result<SeedText> read_seed_text(const std::string& path);

// The public keys that `text_or_path` stands for: itself when it is a key line, otherwise the lines of that
// file. Errors: those of reading; corrupt when a line is no public key (or the file holds a private one).
Result<std::vector<std::string>> read_ssh_keys(const std::string& text_or_path);

}  // namespace qimg
