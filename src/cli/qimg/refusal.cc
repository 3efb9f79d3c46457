// Refusing, warning, or letting pass.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/refusal.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "cli/qimg/messages.hpp"
#include "qimg/image.hpp"
#include "qimg/operations/dependants.hpp"
#include "qimg/printable.hpp"

namespace qimg::cli {

namespace {

bool asks_for_compatibility() {
    const char* const value = std::getenv("QIMG_COMPAT");
    return value != nullptr && std::string_view(value) == "1";
}

std::string list_of(const std::vector<std::string>& paths) {
    constexpr std::size_t shown = 3;
    std::string text;
    for (std::size_t i = 0; i < std::min(shown, paths.size()); ++i)
        text += fmt::format("{}'{}'", i == 0 ? "" : ", ", printable(paths[i]));
    if (paths.size() > shown) text += fmt::format(" and {} more", paths.size() - shown);
    return text;
}

}  // namespace

Result<void> refuse_unless_compatible(const std::string& risk, const std::string& advice) {
    if (asks_for_compatibility() || (is_drop_in() && ::isatty(STDERR_FILENO) != 0)) {
        print_warning(risk);
        return {};
    }
    if (is_drop_in()) return {};
    return fail(ErrorKind::unsafe, fmt::format("{}; {}", risk, advice));
}

Result<void> protect_dependants(const std::string& path, const std::string& doing, bool forced,
                                const std::string& above) {
    if (forced || ::access(path.c_str(), F_OK) != 0) return {};
    const auto found = find_dependants({path, above});
    if (!found) return std::unexpected<Error>(found.error());
    if (found->empty()) return {};
    return refuse_unless_compatible(fmt::format("{} stand{} on '{}', and {} would destroy {}",
                                                list_of(*found), found->size() == 1 ? "s" : "",
                                                printable(path), doing, found->size() == 1 ? "it" : "them"),
                                    "use --force to do it all the same");
}

Result<void> protect_pins(const std::string& path, const std::string& doing, bool forced) {
    if (forced || ::access(path.c_str(), F_OK) != 0) return {};
    const auto found = find_dependants({path, {}, true});
    if (!found) return std::unexpected<Error>(found.error());
    if (found->empty()) return {};
    return refuse_unless_compatible(
        fmt::format("{} stand{} on '{}', and {} would be taken for a change of it", list_of(*found),
                    found->size() == 1 ? "s" : "", printable(path), doing),
        "use --force to do it all the same, and 'qimg rebase -u' to pin it as it is then");
}

bool spares_dependants(const std::string& path, const std::string& doing, bool forced) {
    const auto harmless = protect_dependants(path, doing, forced);
    if (!harmless) print_error(harmless.error());
    return harmless.has_value();
}

Result<void> protect_data_file(const std::string& path, bool forced) {
    if (forced) return {};
    const auto file = open_file(path, {Access::read_only, Locking::share});
    if (!file || (*file)->size().value_or(0) == 0) return {};
    return refuse_unless_compatible(
        fmt::format("the data file '{}' exists already, and what it holds would be lost", printable(path)),
        "use --force to do it all the same");
}

Result<void> protect_from_wrong_format(const std::string& path, const std::string& format, bool forced) {
    if (forced || format != "raw") return {};
    OpenOptions open;
    open.locking = Locking::share;
    open.with_backing = false;
    const auto probed = Image::open(path, open);
    if (!probed || (*probed)->format_name() == "raw") return {};
    return refuse_unless_compatible(
        fmt::format(
            "'{}' is a {} image, but is said to be raw: guests would see its tables instead of its disk",
            printable(path), (*probed)->format_name()),
        fmt::format("say -F {}, or use --force", (*probed)->format_name()));
}

}  // namespace qimg::cli
