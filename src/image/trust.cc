// Which names in headers are harmless.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/trust.hpp"

#include <algorithm>
#include <filesystem>

#include "base/text.hpp"
#include "base/try.hpp"
#include "image/opener.hpp"

namespace qimg {

namespace fs = std::filesystem;

bool is_below(const std::string& path, const std::string& folder) {
    std::error_code failed;
    const fs::path file = fs::canonical(path, failed);
    if (failed) return false;
    const fs::path real_folder = fs::canonical(folder.empty() ? "." : folder, failed);
    if (failed) return false;
    const auto [rest, unused] =
        std::mismatch(real_folder.begin(), real_folder.end(), file.begin(), file.end());
    return rest == real_folder.end();
}

Result<std::unique_ptr<Storage>> CautiousOpener::open(const std::string& path, const FileOptions& options) {
    return open_file(path, options);
}

Result<std::unique_ptr<Storage>> CautiousOpener::open_reference(const std::string& named_by,
                                                                const std::string& path,
                                                                const FileOptions& options) {
    auto storage = TRY(open_file(path, options));
    if (is_below(path, fs::path(named_by).parent_path().string())) return storage;
    const std::string format = TRY(probe_format(*storage));
    if (format == "raw") {
        TRY(decide_(
            named_by,
            fmt::format("'{}' is named in the header of '{}', but lies outside of its folder and does "
                        "not look like an image",
                        printable(path), printable(named_by))));
    }
    return storage;
}

}  // namespace qimg
