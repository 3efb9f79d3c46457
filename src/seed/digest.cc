// Lists of texts as one digest.
// SPDX-License-Identifier: Apache-2.0
#include "seed/digest.hpp"

#include "base/bytes.hpp"
#include "base/endian.hpp"

namespace qimg::seed {

Digest digest_of(const std::vector<std::string_view>& texts) {
    Sha256 digest;
    for (std::string_view text : texts) {
        std::array<std::byte, 8> length;
        store(length, le64(text.size()));
        digest.update(length);
        digest.update(bytes_of(text));
    }
    return digest.finish();
}

}  // namespace qimg::seed
