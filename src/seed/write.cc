// From the files of a seed to an image, and from options to a file on disk.
// SPDX-License-Identifier: Apache-2.0
#include "base/endian.hpp"
#include "base/try.hpp"
#include "qimg/fat.hpp"
#include "qimg/iso9660.hpp"
#include "qimg/seed.hpp"
#include "seed/digest.hpp"

namespace qimg {

namespace {

constexpr std::string_view volume_id = "cidata";  // the NoCloud data source looks for this label

// Two seeds that differ are two volumes.
std::uint32_t serial_of(const Seed& seed) {
    std::vector<std::string_view> texts;
    for (const VolumeFile& file : seed.files)
        texts.insert(texts.end(), {file.name, file.contents});
    const Digest digest = seed::digest_of(texts);
    return load<be32>(std::as_bytes(std::span(digest)));
}

}  // namespace

Result<void> write_seed(const Seed& seed, SeedFilesystem filesystem, std::int64_t time, Storage& onto) {
    const std::string id(volume_id);
    if (filesystem == SeedFilesystem::iso9660) return write_iso9660(seed.files, {id, time}, onto);
    return write_fat(seed.files, {id, serial_of(seed), time}, onto);
}

Result<SeedReport> make_seed(const SeedOptions& options, const std::string& path) {
    Seed seed = TRY(compose_seed(options));
    const auto file = TRY(create_file(path));
    TRY(write_seed(seed, options.filesystem, options.time, *file));
    SeedReport report;
    report.bytes = TRY(file->size());
    TRY(file->commit());
    report.instance_id = seed.instance_id;
    report.warnings = std::move(seed.warnings);
    return report;
}

}  // namespace qimg
