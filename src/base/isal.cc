// Finding the library and its functions.
// SPDX-License-Identifier: Apache-2.0
#include "base/isal.hpp"

#include <dlfcn.h>

#include <optional>

namespace qimg {

namespace {

template <class Function>
bool find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(::dlsym(library, name));
    return function != nullptr;
}

std::optional<Isal> open_library() {
    void* const library = ::dlopen("libisal.so.2", RTLD_NOW | RTLD_LOCAL);
    Isal isal{};
    const bool is_whole = library != nullptr && find(library, "crc64_ecma_refl", isal.crc64_ecma_refl) &&
                          find(library, "isal_deflate_init", isal.isal_deflate_init) &&
                          find(library, "isal_deflate_reset", isal.isal_deflate_reset) &&
                          find(library, "isal_deflate", isal.isal_deflate);
    return is_whole ? std::optional(isal) : std::nullopt;
}

}  // namespace

const Isal* load_isal() {
    static const std::optional<Isal> isal = open_library();
    return isal ? &*isal : nullptr;
}

}  // namespace qimg
