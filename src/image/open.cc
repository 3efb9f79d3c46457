// Opening an image and the chain below it.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/raw/raw.hpp"
#include "format/vmdk/vmdk.hpp"
#include "image/opener.hpp"
#include "storage/faults.hpp"
#include "storage/null_storage.hpp"
#include "storage/redo_log.hpp"

namespace qimg {

namespace {

constexpr std::size_t chain_length_max = 200;  // a longer chain is a mistake, or an attack

class FileOpener final : public Opener {
  public:
    Result<std::unique_ptr<Storage>> open(const std::string& path, const FileOptions& options) override {
        return open_file(path, options);
    }
};

std::unexpected<Error> with_prefix(const std::string& prefix, Error error) {
    error.message = fmt::format("{}: {}", prefix, error.message);
    return std::unexpected<Error>(std::move(error));
}

// The file, or what stands in its place. `above` is empty for the image that the user named.
Result<std::unique_ptr<Storage>> open_storage(const ImageLocation& location, Opener& opener,
                                              const std::vector<std::string>& above) {
    const OpenOptions& options = location.open;
    const Assembly* assembly = options.assembly.get();
    if (assembly != nullptr && assembly->null_bytes)
        return null_storage(*assembly->null_bytes, assembly->name);
    const FileOptions file{options.access, options.locking};
    auto storage =
        TRY(above.empty() || assembly != nullptr ? opener.open(location.path, file)
                                                 : opener.open_reference(above.back(), location.path, file));
    if (assembly == nullptr) return storage;
    return faulty_storage(std::move(storage), assembly->file_faults);
}

Result<std::unique_ptr<Image>> open_backing(const ImageLocation& location, const Format& format,
                                            Opener& opener, std::vector<std::string>& above) {
    const std::optional<ImageLocation> below = TRY(location_below(location, format, opener));
    if (!below) return nullptr;
    above.push_back(location.path);
    return open_chain(*below, opener, above);
}

std::unexpected<Error> unfinished(const std::string& path) {
    Error error{ErrorKind::unsafe, {}, 0, {}, {}};
    error.message = fmt::format("'{}' has changes that `expand` was stopped at making", printable(path));
    error.hint = fmt::format("finish them with `qimg expand {}`", printable(path));
    return std::unexpected<Error>(std::move(error));
}

}  // namespace

Result<ImageLocation> Opener::locate(const std::string& named_by, const std::string& name) {
    return failf(ErrorKind::unsupported,
                 "'{}' stands in the header of '{}', where only names of files are followed", printable(name),
                 printable(named_by));
}

Opener& file_opener() {
    static FileOpener opener;
    return opener;
}

std::optional<std::string> protocol_of(const std::string& name) {
    const std::size_t end = name.find_first_of(":/");
    if (end == name.npos || name[end] == '/') return std::nullopt;
    return name.substr(0, end);
}

std::string resolve_reference(const std::string& named_by, const std::string& name) {
    const auto protocol = protocol_of(name);
    if (protocol && protocol != "file") return name;
    const std::string plain = protocol ? name.substr(5) : name;
    const std::size_t slash = named_by.rfind('/');
    if (plain.starts_with('/') || slash == std::string::npos) return plain;
    return named_by.substr(0, slash + 1) + plain;
}

Result<std::optional<ImageLocation>> location_below(const ImageLocation& location, const Format& format,
                                                    Opener& opener) {
    if (!location.open.with_backing) return std::nullopt;
    const Assembly* assembly = location.open.assembly.get();
    if (assembly != nullptr && assembly->backing) return *assembly->backing;
    const std::optional<std::string> name = format.backing_file();
    if (!name) return std::nullopt;
    if (assembly != nullptr && !assembly->has_folder && !name->starts_with('/')) {
        return failf(ErrorKind::not_found, "'{}' is relative to an image that is in no folder",
                     printable(*name));
    }
    ImageLocation below;
    if (protocol_of(*name).value_or("file") == "file") {
        below.path = resolve_reference(location.path, *name);
    } else {
        below = TRY(opener.locate(location.path, *name));
    }
    if (!below.open.format) below.open.format = format.backing_format();
    below.open.locking = location.open.locking;
    return below;
}

Result<std::unique_ptr<Format>> open_format(std::unique_ptr<Storage> storage, const std::string& path,
                                            const OpenOptions& options, Opener& opener) {
    std::string format;
    if (options.format) {
        format = *options.format;
    } else {
        format = TRY(probe_format(*storage));
    }
    const Assembly* assembly = options.assembly.get();
    const bool is_for_use = options.access == Access::read_write && !options.for_finishing;
    if (is_for_use && has_redo_log(path, *storage)) return unfinished(path);
    if (format == "raw") {
        raw::RawOptions part;
        if (assembly != nullptr) part = {assembly->raw_start, assembly->raw_bytes, assembly->whole_sectors};
        return raw::open(std::move(storage), part);
    }
    if (format == "vmdk") return vmdk::Vmdk::open(std::move(storage), {options.access == Access::read_write});
    if (is_foreign_format(format)) {
        return failf(ErrorKind::unsupported, "Images of the format '{}' are not supported{}",
                     printable(format),
                     options.format ? "" : "; say -f raw if it is none, in spite of its first bytes");
    }
    if (format != "qcow2")
        return failf(ErrorKind::invalid_argument, "Unknown driver '{}'", printable(format));

    qcow2::Qcow2Options details;
    details.with_guest_data = options.with_guest_data;
    details.on_finding = options.on_finding;
    details.for_check = options.for_check;
    details.writable = options.access == Access::read_write && !options.for_repair;
    details.open_data_file = [&](const std::optional<std::string>& name) -> Result<std::unique_ptr<Storage>> {
        const FileOptions file{options.access, options.locking};
        if (assembly != nullptr && assembly->data_file) return opener.open(*assembly->data_file, file);
        if (!name) return nullptr;
        return opener.open_reference(path, resolve_reference(path, *name), file);
    };
    return qcow2::Qcow2::open(std::move(storage), details);
}

Result<std::unique_ptr<Image>> open_chain(const ImageLocation& location, Opener& opener,
                                          std::vector<std::string>& above) {
    const std::string& path = location.path;
    const auto& assembly = location.open.assembly;
    const bool is_file = assembly == nullptr || !assembly->null_bytes;
    if (is_file && std::find(above.begin(), above.end(), path) != above.end()) {
        return failf(ErrorKind::corrupt, "Backing file '{}' creates an infinite loop.", printable(path));
    }
    if (above.size() >= chain_length_max) {
        return failf(ErrorKind::corrupt, "Backing chain is longer than {} images", chain_length_max);
    }
    auto storage = TRY(open_storage(location, opener, above));
    auto format = TRY(open_format(std::move(storage), path, location.open, opener));
    auto backing = open_backing(location, *format, opener, above);
    if (!backing) return with_prefix("Could not open backing file", std::move(backing).error());
    auto image = std::make_unique<Image>(path, std::move(format), std::move(*backing));
    if (assembly) image->assemble(assembly);
    return image;
}

Result<std::unique_ptr<Image>> open_over(std::unique_ptr<Image> backing, const ImageLocation& location,
                                         Opener& opener, const std::vector<std::string>& above) {
    auto storage = TRY(open_storage(location, opener, above));
    auto format = TRY(open_format(std::move(storage), location.path, location.open, opener));
    auto image = std::make_unique<Image>(location.path, std::move(format), std::move(backing));
    if (location.open.assembly) image->assemble(location.open.assembly);
    return image;
}

Result<std::unique_ptr<Image>> Image::open(const std::string& path, const OpenOptions& options,
                                           Opener& opener) {
    std::vector<std::string> above;
    auto image = open_chain({path, options}, opener, above);
    if (!image) {
        const bool is_named = options.assembly && !options.assembly->name.empty();
        const std::string& name = is_named ? options.assembly->name : path;
        return with_prefix(fmt::format("Could not open '{}'", printable(name)), std::move(image).error());
    }
    opener.all_is_open();
    return image;
}

}  // namespace qimg
