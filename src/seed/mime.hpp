// MIME multi-part archives: several kinds of user-data in one file (RFC 2046).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "seed/user_data.hpp"

namespace qimg::seed {

struct MimePart {
    PartKind kind;  // not `empty`
    std::string_view text;
};

// The archive, with the parts in their order. Neither names nor times are in it, only the parts themselves.
std::string mime_archive(const std::vector<MimePart>& parts);

// RFC 4648 base64 in lines of 76 characters, each ended by a newline.
std::string base64_lines(std::string_view bytes);

}  // namespace qimg::seed
