// Feeds arbitrary bytes as an image to check, then to check with repair.
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>

#include "format/qcow2/check.hpp"
#include "qimg/storage.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    for (const qimg::Repair repair : {qimg::Repair::none, qimg::Repair::all}) {
        auto storage = qimg::memory_storage();
        if (!storage->write(qimg::HostOffset(0), std::as_bytes(std::span(data, size)))) return 0;
        qimg::qcow2::Qcow2Options options;
        options.for_check = true;
        options.open_data_file =
            [](const std::optional<std::string>&) -> qimg::Result<std::unique_ptr<qimg::Storage>> {
            return qimg::memory_storage();
        };
        const auto image = qimg::qcow2::Qcow2::open(std::move(storage), options);
        if (!image) return 0;
        (void)qimg::qcow2::check_image(**image, repair, {}, qimg::no_progress());
    }
    return 0;
}
