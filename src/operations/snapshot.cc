// Internal snapshots by name.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/snapshot.hpp"

#include <chrono>

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/qcow2/snapshot_changes.hpp"

namespace qimg {

namespace {

qcow2::SnapshotTime now() {
    using namespace std::chrono;
    const auto since_epoch = system_clock::now().time_since_epoch();
    const auto whole = duration_cast<seconds>(since_epoch);
    return {static_cast<std::uint32_t>(whole.count()),
            static_cast<std::uint32_t>(duration_cast<nanoseconds>(since_epoch - whole).count())};
}

// Snapshots concern one file: its backing image is not opened.
Result<std::unique_ptr<Image>> open_alone(const SnapshotOptions& options, Access access, Opener& opener) {
    OpenOptions open = options.open;
    open.access = access;
    open.with_backing = false;
    open.with_guest_data = access != Access::read_only;
    return Image::open(options.path, open, opener);
}

Result<qcow2::Qcow2*> as_qcow2(Image& image) {
    auto* format = dynamic_cast<qcow2::Qcow2*>(&image.format());
    if (format == nullptr) {
        return failf(ErrorKind::unsupported, "{}: {} images have no internal snapshots",
                     printable(image.path()), image.format().name());
    }
    return format;
}

}  // namespace

Result<std::vector<SnapshotInfo>> snapshot_list(const SnapshotOptions& options, Opener& opener) {
    const auto image = TRY(open_alone(options, Access::read_only, opener));
    ImageInfo info;
    TRY(image->format().describe(info));
    return std::move(info.snapshots);
}

Result<void> snapshot_create(const SnapshotOptions& options, Opener& opener) {
    const auto image = TRY(open_alone(options, Access::read_write, opener));
    qcow2::Qcow2* const format = TRY(as_qcow2(*image));
    return qcow2::create_snapshot(*format, options.name, now());
}

Result<void> snapshot_apply(const SnapshotOptions& options, Opener& opener) {
    const auto image = TRY(open_alone(options, Access::read_write, opener));
    qcow2::Qcow2* const format = TRY(as_qcow2(*image));
    return qcow2::apply_snapshot(*format, options.name);
}

Result<void> snapshot_delete(const SnapshotOptions& options, Opener& opener) {
    const auto image = TRY(open_alone(options, Access::read_write, opener));
    qcow2::Qcow2* const format = TRY(as_qcow2(*image));
    return qcow2::delete_snapshot(*format, options.name);
}

}  // namespace qimg
