// libfmt's own part, compiled in: as a shared library it would bring libstdc++ with it, which costs every start of a
// program more than most commands take.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format-inl.h>

// what fmt/format.h leaves to be instantiated in one place
template fmt::detail::thousands_sep_result<char> fmt::detail::thousands_sep_impl<char>(
    fmt::detail::locale_ref);
template char fmt::detail::decimal_point_impl<char>(fmt::detail::locale_ref);
