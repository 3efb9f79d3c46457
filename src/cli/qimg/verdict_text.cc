// Printing verdicts.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/verdict_text.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "qimg/printable.hpp"
#include "qimg/size_text.hpp"

namespace qimg::cli {

void print_verdict(const std::string& name, const Verdict& verdict) {
    fmt::print("image: {}\nfile format: {}\n", printable(name), verdict.format);
    if (verdict.virtual_bytes)
        fmt::print("virtual size: {} ({} bytes)\n", format_size(*verdict.virtual_bytes),
                   *verdict.virtual_bytes);
    fmt::print("verdict: {}\n", verdict.is_safe() ? "safe" : "unsafe");
    for (const UnsafeReason& reason : verdict.reasons)
        fmt::print("    {}: {}\n", reason.code, reason.text);
}

Json verdict_json(const std::string& name, const Verdict& verdict) {
    Json json;
    json["filename"] = name;
    json["format"] = verdict.format;
    if (verdict.virtual_bytes) json["virtual-size"] = *verdict.virtual_bytes;
    json["file-size"] = verdict.file_bytes;
    json["safe"] = verdict.is_safe();
    json["reasons"] = Json::array();
    for (const UnsafeReason& reason : verdict.reasons)
        json["reasons"].push_back({{"code", reason.code}, {"text", reason.text}});
    return json;
}

}  // namespace qimg::cli
