// TRY: unwrap a Result or return its error.
//
// Use it only as a whole statement or as a whole initialiser (`auto x = TRY(f());`): inside a brace
// initialiser g++ 12 leaks the siblings that were already built. tests/style checks that.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>
#include <utility>

#include "qimg/error.hpp"

namespace qimg {

template <class T>
T take(Result<T>&& result) {
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace qimg

#define TRY(expression)                                                                        \
    __extension__({                                                                            \
        auto try_result = (expression);                                                        \
        if (!try_result) return std::unexpected<::qimg::Error>(std::move(try_result).error()); \
        ::qimg::take(std::move(try_result));                                                   \
    })
