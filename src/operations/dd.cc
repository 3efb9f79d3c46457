// Which bytes are meant; convert copies them.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/dd.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "base/try.hpp"
#include "qimg/operations/convert.hpp"

namespace qimg {

Result<DdReport> dd(const DdOptions& options, Opener& opener, Progress& progress) {
    if (options.block_bytes == 0) return fail(ErrorKind::invalid_argument, "a block has at least one byte");
    std::uint64_t end = 0;
    {
        const auto source = TRY(Image::open(options.source.path, options.source.open, opener));
        end = source->size();
    }
    if (options.count)
        end = std::min(end, checked_multiply(*options.count, options.block_bytes).value_or(end));
    const auto start = checked_multiply(options.skip, options.block_bytes);
    DdReport report;
    report.skipped_past_end = !start || *start > end;
    report.bytes = report.skipped_past_end ? 0 : end - *start;

    ConvertOptions copy;
    copy.sources = {options.source};
    copy.part = GuestRange(GuestOffset(report.skipped_past_end ? 0 : *start), report.bytes);
    copy.target.path = options.path;
    copy.target.format = options.format;
    copy.target.size = round_up(report.bytes, sector_bytes);
    copy.sparse_bytes = 0;
    copy.creation_words = "error while creating output image";
    TRY(convert(copy, opener, progress));
    return report;
}

}  // namespace qimg
