// Opening an image and the chain below it.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <vector>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/raw/raw.hpp"
#include "image/opener.hpp"

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

// The chain from `path` downwards; `above` are the files that are open already, to tell a loop.
Result<std::unique_ptr<Image>> open_chain(const std::string& path, const OpenOptions& options, Opener& opener,
                                          std::vector<std::string>& above) {
    if (std::find(above.begin(), above.end(), path) != above.end()) {
        return failf(ErrorKind::corrupt, "Backing file '{}' creates an infinite loop.", printable(path));
    }
    if (above.size() >= chain_length_max) {
        return failf(ErrorKind::corrupt, "Backing chain is longer than {} images", chain_length_max);
    }
    const FileOptions file{options.access, options.locking};
    auto storage = above.empty() ? opener.open(path, file) : opener.open_reference(path, file);
    if (!storage) return std::unexpected<Error>(std::move(storage).error());
    auto format = TRY(open_format(std::move(*storage), path, options, opener));

    std::unique_ptr<Image> backing;
    const std::optional<std::string> name = format->backing_file();
    if (name && options.with_backing) {
        above.push_back(path);
        OpenOptions below;
        below.format = format->backing_format();
        below.locking = options.locking;
        auto opened = open_chain(resolve_reference(path, *name), below, opener, above);
        if (!opened) return with_prefix("Could not open backing file", std::move(opened).error());
        backing = std::move(*opened);
    }
    return std::make_unique<Image>(path, std::move(format), std::move(backing));
}

}  // namespace

Opener& file_opener() {
    static FileOpener opener;
    return opener;
}

Result<std::string> probe_format(const Storage& storage) {
    std::array<std::byte, 4> start;
    TRY(storage.read(HostOffset(0), start));
    return std::string(qcow2::has_magic(start) ? "qcow2" : "raw");
}

std::string resolve_reference(const std::string& named_by, const std::string& name) {
    const std::string plain = name.starts_with("file:") ? name.substr(5) : name;
    const std::size_t slash = named_by.rfind('/');
    if (plain.starts_with('/') || slash == std::string::npos) return plain;
    return named_by.substr(0, slash + 1) + plain;
}

Result<std::unique_ptr<Format>> open_format(std::unique_ptr<Storage> storage, const std::string& path,
                                            const OpenOptions& options, Opener& opener) {
    std::string format;
    if (options.format) {
        format = *options.format;
    } else {
        format = TRY(probe_format(*storage));
    }
    if (format == "raw") return raw::open(std::move(storage));
    if (format != "qcow2")
        return failf(ErrorKind::invalid_argument, "Unknown driver '{}'", printable(format));

    qcow2::Qcow2Options details;
    details.writable = options.access == Access::read_write && !options.for_repair;
    details.open_data_file = [&](const std::string& name) {
        return opener.open_reference(resolve_reference(path, name),
                                     FileOptions{options.access, options.locking});
    };
    return qcow2::Qcow2::open(std::move(storage), details);
}

Result<std::unique_ptr<Image>> Image::open(const std::string& path, const OpenOptions& options,
                                           Opener& opener) {
    std::vector<std::string> above;
    auto image = open_chain(path, options, opener, above);
    if (!image) {
        return with_prefix(fmt::format("Could not open '{}'", printable(path)), std::move(image).error());
    }
    return image;
}

}  // namespace qimg
