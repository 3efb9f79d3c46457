// What an image is, as text and as JSON.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/info_text.hpp"

#include <fmt/core.h>

#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "qimg/printable.hpp"
#include "qimg/size_text.hpp"

namespace qimg::cli {

namespace {

constexpr std::uint64_t nanoseconds = 1'000'000'000;

std::string date_text(std::uint32_t seconds) {
    const std::time_t time = seconds;
    std::tm local{};
    ::localtime_r(&time, &local);
    char text[32];
    const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
    return {text, length};
}

std::string clock_text(std::uint64_t clock_nanoseconds) {
    const std::uint64_t seconds = clock_nanoseconds / nanoseconds;
    return fmt::format("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60,
                       clock_nanoseconds / 1'000'000 % 1000);
}

std::string compat_text(const Qcow2Info& qcow2) {
    return qcow2.version < 3 ? "0.10" : "1.1";
}

std::vector<std::string> flag_names(const BitmapInfo& bitmap) {
    std::vector<std::string> names;
    if (bitmap.in_use) names.push_back("in-use");
    if (bitmap.automatic) names.push_back("auto");
    return names;
}

void print_bitmaps(const std::vector<BitmapInfo>& bitmaps) {
    if (bitmaps.empty()) return;
    fmt::print("    bitmaps:\n");
    for (std::size_t i = 0; i < bitmaps.size(); ++i) {
        fmt::print("        [{}]:\n            flags:\n", i);
        const auto flags = flag_names(bitmaps[i]);
        for (std::size_t j = 0; j < flags.size(); ++j)
            fmt::print("                [{}]: {}\n", j, flags[j]);
        fmt::print("            name: {}\n            granularity: {}\n", printable(bitmaps[i].name),
                   bitmaps[i].granularity_bytes);
    }
}

void print_qcow2(const Qcow2Info& qcow2) {
    fmt::print("Format specific information:\n    compat: {}\n    compression type: {}\n", compat_text(qcow2),
               qcow2.compression_type);
    if (qcow2.version >= 3) fmt::print("    lazy refcounts: {}\n", qcow2.lazy_refcounts);
    print_bitmaps(qcow2.bitmaps);
    fmt::print("    refcount bits: {}\n", qcow2.refcount_bits);
    if (qcow2.is_encrypted) fmt::print("    encrypt:\n        format: aes\n");
    if (qcow2.version < 3) return;
    if (qcow2.data_file) fmt::print("    data file: {}\n", printable(*qcow2.data_file));
    if (qcow2.has_data_file) fmt::print("    data file raw: {}\n", qcow2.data_file_raw);
    fmt::print("    corrupt: {}\n    extended l2: {}\n", qcow2.corrupt, qcow2.extended_l2);
}

Json qcow2_json(const Qcow2Info& qcow2) {
    Json data = {{"compat", compat_text(qcow2)}, {"compression-type", qcow2.compression_type}};
    if (qcow2.version >= 3) data["lazy-refcounts"] = qcow2.lazy_refcounts;
    for (const BitmapInfo& bitmap : qcow2.bitmaps) {
        data["bitmaps"].push_back({{"flags", flag_names(bitmap)},
                                   {"name", bitmap.name},
                                   {"granularity", bitmap.granularity_bytes}});
    }
    data["refcount-bits"] = qcow2.refcount_bits;
    if (qcow2.is_encrypted) data["encrypt"] = {{"format", "aes"}};
    if (qcow2.version >= 3) {
        if (qcow2.data_file) data["data-file"] = *qcow2.data_file;
        if (qcow2.has_data_file) data["data-file-raw"] = qcow2.data_file_raw;
        data["corrupt"] = qcow2.corrupt;
        data["extended-l2"] = qcow2.extended_l2;
    }
    return {{"type", "qcow2"}, {"data", std::move(data)}};
}

void print_vmdk(const VmdkInfo& vmdk) {
    fmt::print(
        "Format specific information:\n    cid: {}\n    parent cid: {}\n    create type: {}\n    extents:\n"
        "        [0]:\n",
        vmdk.cid, vmdk.parent_cid, vmdk.create_type);
    if (vmdk.compressed) fmt::print("            compressed: true\n");
    fmt::print(
        "            virtual size: {}\n            filename: {}\n            cluster size: {}\n"
        "            format: \n",
        vmdk.extent_bytes, printable(vmdk.extent_path), vmdk.grain_bytes);
}

Json vmdk_json(const VmdkInfo& vmdk) {
    Json extent = Json::object();
    if (vmdk.compressed) extent["compressed"] = true;
    extent["virtual-size"] = vmdk.extent_bytes;
    extent["filename"] = vmdk.extent_path;
    extent["cluster-size"] = vmdk.grain_bytes;
    extent["format"] = "";
    Json data = {{"cid", vmdk.cid}, {"parent-cid", vmdk.parent_cid}, {"create-type", vmdk.create_type}};
    data["extents"] = Json::array({std::move(extent)});
    return {{"type", "vmdk"}, {"data", std::move(data)}};
}

Json snapshot_json(const SnapshotInfo& snapshot) {
    Json json = Json::object();
    if (snapshot.icount) json["icount"] = *snapshot.icount;
    json["vm-clock-nsec"] = snapshot.vm_clock_nanoseconds % nanoseconds;
    json["name"] = snapshot.name;
    json["date-sec"] = snapshot.date_seconds;
    json["date-nsec"] = snapshot.date_nanoseconds;
    json["vm-clock-sec"] = snapshot.vm_clock_nanoseconds / nanoseconds;
    json["id"] = snapshot.id;
    json["vm-state-size"] = snapshot.vm_state_bytes;
    return json;
}

void print_limits(const RequestLimits& limits) {
    fmt::print("Block limits:\n    request alignment: {}\n", limits.request_alignment);
    if (limits.discard_alignment) fmt::print("    discard alignment: {}\n", *limits.discard_alignment);
    if (limits.write_zeroes_alignment)
        fmt::print("    write zeroes alignment: {}\n", *limits.write_zeroes_alignment);
    fmt::print("    max iov: {}\n    min mem alignment: {}\n    opt mem alignment: {}\n", limits.max_iov,
               limits.min_memory_alignment, limits.opt_memory_alignment);
}

Json limits_json(const RequestLimits& limits) {
    Json json = {{"request-alignment", limits.request_alignment}};
    if (limits.discard_alignment) json["discard-alignment"] = *limits.discard_alignment;
    if (limits.write_zeroes_alignment) json["write-zeroes-alignment"] = *limits.write_zeroes_alignment;
    json["max-iov"] = limits.max_iov;
    json["min-mem-alignment"] = limits.min_memory_alignment;
    json["opt-mem-alignment"] = limits.opt_memory_alignment;
    return json;
}

void print_users(const std::vector<FileUser>& users) {
    for (const FileUser& user : users)
        fmt::print("in use: {} by {}\n", user.writes ? "read and written" : "read", user_text(user));
}

Json users_json(const std::vector<FileUser>& users) {
    Json list = Json::array();
    for (const FileUser& user : users) {
        list.push_back({{"pid", user.process}, {"command", user.command}, {"writes", user.writes}});
        if (user.domain) list.back()["domain"] = *user.domain;
    }
    return list;
}

}  // namespace

Json snapshots_json(const std::vector<SnapshotInfo>& snapshots) {
    Json list = Json::array();
    for (const SnapshotInfo& snapshot : snapshots)
        list.push_back(snapshot_json(snapshot));
    return list;
}

void print_snapshots(const std::vector<SnapshotInfo>& snapshots) {
    constexpr const char* row = "{:<9} {:<16} {:>8}{:>20}{:>13}{:>11}\n";
    fmt::print("Snapshot list:\n");
    fmt::print(row, "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
    for (const SnapshotInfo& snapshot : snapshots) {
        fmt::print(row, printable(snapshot.id), printable(snapshot.name),
                   format_size(snapshot.vm_state_bytes), date_text(snapshot.date_seconds),
                   clock_text(snapshot.vm_clock_nanoseconds),
                   snapshot.icount ? fmt::format("{}", *snapshot.icount) : std::string());
    }
}

void print_info(const ImageInfo& image) {
    fmt::print("image: {}\nfile format: {}\nvirtual size: {} ({} bytes)\ndisk size: {}\n",
               printable(image.path), image.format, format_size(image.virtual_bytes), image.virtual_bytes,
               image.allocated_bytes ? format_size(*image.allocated_bytes) : "unavailable");
    if (image.qcow2 && image.qcow2->is_encrypted) fmt::print("encrypted: yes\n");
    if (image.cluster_bytes) fmt::print("cluster_size: {}\n", *image.cluster_bytes);
    if (image.dirty) fmt::print("cleanly shut down: no\n");
    if (image.backing_file) {
        fmt::print("backing file: {}", printable(*image.backing_file));
        if (!image.full_backing_file) {
            fmt::print(" (cannot determine actual path)");
        } else if (*image.full_backing_file != *image.backing_file) {
            fmt::print(" (actual path: {})", printable(*image.full_backing_file));
        }
        fmt::print("\n");
        if (image.backing_format) fmt::print("backing file format: {}\n", printable(*image.backing_format));
    }
    if (!image.snapshots.empty()) print_snapshots(image.snapshots);
    if (image.qcow2) print_qcow2(*image.qcow2);
    if (image.vmdk) print_vmdk(*image.vmdk);
    if (image.limits) print_limits(*image.limits);
    print_users(image.users);
}

Json info_json(const ImageInfo& image) {
    Json json = Json::object();
    if (!image.snapshots.empty()) json["snapshots"] = snapshots_json(image.snapshots);
    if (image.backing_format) json["backing-filename-format"] = *image.backing_format;
    json["virtual-size"] = image.virtual_bytes;
    json["filename"] = image.path;
    if (image.cluster_bytes) json["cluster-size"] = *image.cluster_bytes;
    json["format"] = image.format;
    if (image.allocated_bytes) json["actual-size"] = *image.allocated_bytes;
    if (image.qcow2) json["format-specific"] = qcow2_json(*image.qcow2);
    if (image.vmdk) json["format-specific"] = vmdk_json(*image.vmdk);
    if (image.full_backing_file) json["full-backing-filename"] = *image.full_backing_file;
    if (image.backing_file) json["backing-filename"] = *image.backing_file;
    if (image.qcow2 && image.qcow2->is_encrypted) json["encrypted"] = true;
    json["dirty-flag"] = image.dirty;
    if (image.limits) json["limits"] = limits_json(*image.limits);
    if (!image.users.empty()) json["users"] = users_json(image.users);
    return json;
}

}  // namespace qimg::cli
