// Pins along a chain, and the words for what they tell.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/pins.hpp"

#include <ctime>

#include "base/text.hpp"
#include "base/try.hpp"
#include "operations/pin.hpp"

namespace qimg {

namespace {

std::string utc_text(const FileTime& time) {
    const std::time_t seconds = time.seconds;
    std::tm utc{};
    ::gmtime_r(&seconds, &utc);
    char text[64];
    const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &utc);
    return {text, length};
}

}  // namespace

Result<std::vector<PinReport>> compare_chain(const Image& top, bool content, Progress& progress) {
    std::vector<PinReport> reports;
    for (const Image* overlay = &top; overlay->backing() != nullptr; overlay = overlay->backing()) {
        PinReport report;
        if (const auto* format = dynamic_cast<const qcow2::Qcow2*>(&overlay->format()))
            report = TRY(BaseNow(*overlay->backing()).compare(format->header(), content, progress));
        report.overlay = overlay->path();
        report.base = overlay->backing()->path();
        report.base_name = overlay->format().backing_file().value_or(report.base);
        report.base_format = overlay->backing()->format_name();
        reports.push_back(std::move(report));
    }
    return reports;
}

Result<std::vector<PinReport>> check_pins(const PinsOptions& options, Opener& opener, Progress& progress) {
    OpenOptions open = options.open;
    open.access = Access::read_only;
    const auto top = TRY(Image::open(options.path, open, opener));
    return compare_chain(*top, options.content, progress);
}

std::string describe_change(const PinReport& report) {
    std::string text = fmt::format("'{}' changed since '{}' was put on it: ", printable(report.base),
                                   printable(report.overlay));
    for (const std::string& change : report.changes)
        text += fmt::format("{}{}", &change == &report.changes.front() ? "" : ", ", change);
    if (report.modified) text += fmt::format("; it was written to last on {}", utc_text(*report.modified));
    return text;
}

std::string advice_on_change(const PinReport& report) {
    return fmt::format(
        "put back the base as it was; or, when the change is known to be harmless, pin it as it is now with "
        "'qimg rebase -u -b {} -F {} {}'",
        printable(report.base_name), report.base_format, printable(report.overlay));
}

}  // namespace qimg
