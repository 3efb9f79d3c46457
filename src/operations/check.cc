// check: opens an image by its name, has its format check it, and checks again what was repaired.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/check.hpp"

#include "base/text.hpp"
#include "base/try.hpp"
#include "format/qcow2/check.hpp"
#include "format/vmdk/check.hpp"
#include "operations/pin.hpp"

namespace qimg {

namespace {

Result<CheckReport> check_vmdk(const vmdk::Vmdk& image, const CheckOptions& options) {
    if (options.repair != Repair::none)
        return fail(ErrorKind::unsupported, "This image format does not support checks");
    std::uint64_t grains = 0;
    CheckReport report = TRY(vmdk::check_image(image, options.on_finding, grains));
    report.path = options.path;
    report.format = image.name();
    return report;
}

}  // namespace

Result<CheckReport> check(const CheckOptions& options, Opener& opener, Progress& progress) {
    OpenOptions open = options.open;
    open.access = options.repair == Repair::none ? Access::read_only : Access::read_write;
    open.for_check = true;
    open.for_repair = options.repair != Repair::none;
    const auto image = TRY(Image::open(options.path, open, opener));
    if (const auto* vmdk = dynamic_cast<const vmdk::Vmdk*>(&image->format()))
        return check_vmdk(*vmdk, options);
    auto* format = dynamic_cast<qcow2::Qcow2*>(&image->format());
    if (format == nullptr) return fail(ErrorKind::unsupported, "This image format does not support checks");

    CheckReport report = TRY(qcow2::check_image(*format, options.repair, options.on_finding, progress));
    if (report.corruptions_fixed != 0 || report.leaks_fixed != 0) {
        // what counts is what a fresh look at the file says
        CheckReport again = TRY(qcow2::check_image(*format, Repair::none, options.on_finding, progress));
        again.corruptions_fixed = report.corruptions_fixed;
        again.leaks_fixed = report.leaks_fixed;
        report = again;
    }
    if (options.repair != Repair::none) TRY(format->clear_unknown_autoclear());
    report.path = options.path;
    report.format = format->name();
    return report;
}

Result<ChainCheckReport> check_chain(const CheckOptions& options, Opener& opener, Progress& progress) {
    OpenOptions open = options.open;
    open.access = Access::read_only;
    const auto top = TRY(Image::open(options.path, open, opener));
    ChainCheckReport report;
    for (Image* image = top.get(); image != nullptr; image = image->backing()) {
        CheckReport one;
        const auto tell = [&](const std::string& finding) {
            if (options.on_finding)
                options.on_finding(fmt::format("{}: {}", printable(image->path()), finding));
        };
        if (auto* format = dynamic_cast<qcow2::Qcow2*>(&image->format()))
            one = TRY(qcow2::check_image(*format, Repair::none, tell, progress));
        std::uint64_t grains = 0;
        if (const auto* format = dynamic_cast<const vmdk::Vmdk*>(&image->format()))
            one = TRY(vmdk::check_image(*format, tell, grains));
        one.path = image->path();
        one.format = image->format_name();
        report.images.push_back(std::move(one));
    }
    report.pins = TRY(compare_chain(*top, true, progress));
    return report;
}

}  // namespace qimg
