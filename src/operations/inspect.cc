// Looking for reasons not to use an image: each function looks for one kind of them.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/inspect.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/check.hpp"
#include "format/qcow2/qcow2.hpp"
#include "format/qcow2/snapshots.hpp"
#include "format/vmdk/check.hpp"
#include "image/opener.hpp"
#include "partition/tables.hpp"

namespace qimg {

namespace {

// Data that is this much larger than its file was made to be: ordinary images compress to a third or a tenth.
constexpr std::uint64_t expansion_max = 256;

class Reasons {
  public:
    explicit Reasons(std::vector<UnsafeReason>& reasons) : reasons_(reasons) {}

    template <class... Args>
    void add(std::string_view code, fmt::format_string<Args...> format, Args&&... args) {
        reasons_.push_back({std::string(code), fmt::format(format, std::forward<Args>(args)...)});
    }
    void add_error(std::string_view code, const Error& error) {
        const std::string detail = error.detail.empty() ? "" : fmt::format(" ({})", error.detail);
        add(code, "{}{}", error.message, detail);
    }
    // Names are for people, and go to terminals and logs of programs that print them as they are.
    void check_name(std::string_view what, std::string_view name) {
        const std::string shown = printable(name);
        if (shown != name) add("control-characters", "the name of the {} is '{}'", what, shown);
    }

  private:
    std::vector<UnsafeReason>& reasons_;
};

void check_format(const std::vector<std::string>& found, const InspectOptions& options, Verdict& verdict) {
    Reasons reasons(verdict.reasons);
    for (const std::string& format : found) {
        if (format == verdict.format) continue;
        if (verdict.format == "raw") {
            reasons.add("foreign-format", "it can be taken for an image of the format '{}'", format);
        } else {
            reasons.add("ambiguous-format", "it can be taken for '{}', and for '{}' just as well",
                        verdict.format, format);
        }
    }
    if (is_foreign_format(verdict.format))
        reasons.add("foreign-format", "it is an image of the format '{}'", verdict.format);
    if (options.format && *options.format != verdict.format) {
        reasons.add("format-mismatch", "it is said to be '{}', but its first bytes say '{}'",
                    printable(*options.format), verdict.format);
    }
}

std::string_view code_of(qcow2::HeaderPart part) {
    switch (part) {
        case qcow2::HeaderPart::features:
            return "unknown-feature";
        case qcow2::HeaderPart::encryption:
            return "encryption";
        default:
            return "invalid-header";
    }
}

void check_references(const qcow2::Header& header, Reasons& reasons) {
    if (header.backing_file) {
        reasons.add("backing-file", "it names the backing file '{}'", printable(*header.backing_file));
        reasons.check_name("backing file", *header.backing_file);
    }
    const auto data_file = header.text_extension(qcow2::disk::extension_data_file);
    if (header.has_data_file() || data_file) {
        reasons.add("data-file", "its data is in another file{}",
                    data_file ? fmt::format(", '{}'", printable(*data_file)) : "");
        if (data_file) reasons.check_name("data file", *data_file);
    }
    if (header.is_encrypted) reasons.add("encryption", "it is encrypted with AES");
    if (header.find(qcow2::disk::extension_luks) != nullptr)
        reasons.add("encryption", "it has a header for LUKS encryption");
}

Result<void> check_snapshots(const qcow2::Qcow2& image, Reasons& reasons) {
    const auto snapshots = qcow2::read_snapshots(image.storage(), image.header());
    if (!snapshots) {
        reasons.add_error("snapshot-table", snapshots.error());
        return {};
    }
    const std::uint64_t file_bytes = TRY(image.storage().size());
    for (const qcow2::Snapshot& snapshot : *snapshots) {
        reasons.check_name("snapshot", snapshot.info.id);
        reasons.check_name("snapshot", snapshot.info.name);
        const std::uint64_t bytes = snapshot.l1_entries * qcow2::table_entry_bytes;
        const bool is_inside = fits_within(snapshot.l1_table.bytes, bytes, file_bytes);
        if (is_inside && image.geometry().is_cluster_aligned(snapshot.l1_table.bytes)) continue;
        reasons.add("snapshot-table", "the snapshot '{}' has its L1 table, {} bytes at {:#x}, out of bounds",
                    printable(snapshot.info.name), bytes, snapshot.l1_table.bytes);
    }
    return {};
}

void check_bitmaps(const qcow2::Qcow2& image, Reasons& reasons) {
    const auto directory = qcow2::read_bitmaps(image.storage(), image.header());
    if (!directory) {
        reasons.add_error("bitmap-directory", directory.error());
        return;
    }
    for (const qcow2::Bitmap& bitmap : directory->bitmaps)
        reasons.check_name("bitmap", bitmap.info.name);
}

// What a check finds, and how much guest data there is.
void check_tables(qcow2::Qcow2& image, Verdict& verdict) {
    Reasons reasons(verdict.reasons);
    if (const auto l1 = image.l1(); !l1) {
        reasons.add_error("inconsistent", l1.error());
        return;
    }
    const auto report = qcow2::check_image(
        image, Repair::none, [](const std::string&) {}, no_progress());
    if (!report) {
        reasons.add_error("inconsistent", report.error());
        return;
    }
    if (report->corruptions != 0 || report->check_errors != 0) {
        reasons.add("inconsistent", "a check of its tables finds {} corruptions and {} errors",
                    report->corruptions, report->check_errors);
    }
    const std::uint64_t clusters = report->allocated_clusters;
    if (clusters > verdict.file_bytes / image.cluster_bytes() * expansion_max + expansion_max) {
        reasons.add("expansion", "{} bytes of data come out of a file of {} bytes",
                    clusters * image.cluster_bytes(), verdict.file_bytes);
    }
}

Result<void> inspect_qcow2(std::unique_ptr<Storage> file, Verdict& verdict) {
    Reasons reasons(verdict.reasons);
    qcow2::ExaminedHeader examined = TRY(qcow2::examine_header(*file));
    for (const qcow2::HeaderFault& fault : examined.faults)
        reasons.add_error(code_of(fault.part), fault.error);
    check_references(examined.header, reasons);
    if (examined.header.is(qcow2::disk::incompatible_dirty))
        reasons.add("dirty", "it was not closed cleanly; its reference counts may be out of date");
    if (examined.header.is(qcow2::disk::incompatible_corrupt))
        reasons.add("marked-corrupt", "it is marked as corrupt");
    if (!examined.faults.empty()) return {};  // what follows relies on the header

    verdict.virtual_bytes = examined.header.size;
    qcow2::Qcow2Options options;
    options.with_guest_data = false;
    qcow2::Qcow2 image(std::move(file), std::move(examined.header), options);
    TRY(check_snapshots(image, reasons));
    check_bitmaps(image, reasons);
    check_tables(image, verdict);
    return {};
}

// What the tables find in the file, and how much of that is data.
Result<void> inspect_vmdk(std::unique_ptr<Storage> file, Verdict& verdict) {
    Reasons reasons(verdict.reasons);
    const auto image = vmdk::Vmdk::open(std::move(file), {});
    if (!image) {
        const bool is_broken = image.error().kind == ErrorKind::corrupt;
        reasons.add_error(is_broken ? "invalid-header" : "unknown-feature", image.error());
        return {};
    }
    verdict.virtual_bytes = (*image)->size();
    // where QEMU looks for it, whatever the header says: so it could find another one, with names of files
    if ((*image)->header().descriptor.start.bytes != sizeof(vmdk::disk::Header))
        reasons.add("invalid-header", "its descriptor does not follow its header");
    std::uint64_t grains = 0;
    const auto report = TRY(vmdk::check_image(**image, {}, grains));
    if (report.check_errors != 0)
        reasons.add("inconsistent", "a check of its tables finds {} errors", report.check_errors);
    const std::uint64_t grain_bytes = (*image)->cluster_bytes();
    if (grains > verdict.file_bytes / grain_bytes * expansion_max + expansion_max) {
        reasons.add("expansion", "{} bytes of data come out of a file of {} bytes", grains * grain_bytes,
                    verdict.file_bytes);
    }
    return {};
}

std::string_view code_of(partition::TableRule rule) {
    switch (rule) {
        case partition::TableRule::inside_disk:
            return "partition-past-end";
        case partition::TableRule::no_overlap:
            return "partition-overlap";
        case partition::TableRule::mbr_fits_gpt:
            return "mbr-mismatch";
        case partition::TableRule::gpt_whole:
            return "gpt-broken";
        case partition::TableRule::gpt_backup:
            return "gpt-backup";
        case partition::TableRule::disk_end:
            break;
    }
    return "trailing-data";
}

Result<void> inspect_raw(const Storage& file, Verdict& verdict) {
    verdict.virtual_bytes = round_up(verdict.file_bytes, sector_bytes);
    Reasons reasons(verdict.reasons);
    const std::vector<partition::TableFault> faults = TRY(partition::check_tables(file));
    for (const partition::TableFault& fault : faults)
        reasons.add(code_of(fault.rule), "{}", fault.text);
    return {};
}

}  // namespace

Result<Verdict> inspect_untrusted(const InspectOptions& options, Opener& opener) {
    auto file = TRY(opener.open(options.path, {Access::read_only, options.locking}));
    Verdict verdict;
    verdict.file_bytes = TRY(file->size());
    verdict.format = TRY(probe_format(*file));
    const std::vector<std::string> found = TRY(formats_by_signature(*file));
    check_format(found, options, verdict);
    if (verdict.format == "qcow2") {
        TRY(inspect_qcow2(std::move(file), verdict));
    } else if (verdict.format == "vmdk") {
        TRY(inspect_vmdk(std::move(file), verdict));
    } else if (verdict.format == "raw") {
        TRY(inspect_raw(*file, verdict));
    }
    if (verdict.virtual_bytes.value_or(0) > options.virtual_bytes_max) {
        Reasons(verdict.reasons)
            .add("virtual-size", "its disk has {} bytes, more than {}", *verdict.virtual_bytes,
                 options.virtual_bytes_max);
    }
    return verdict;
}

}  // namespace qimg
