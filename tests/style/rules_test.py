#!/usr/bin/env python3
# Shows that the style checks can fail: each rule meets text that breaks it and text that keeps it.
# SPDX-License-Identifier: Apache-2.0
import unittest
from pathlib import Path

import layering
import source
import tree


def code_of(text):
    return tree._TOKEN.sub(tree._blank, text)


def count(rule, text):
    return len(list(rule("sample.cc", code_of(text))))


class TryPlaces(unittest.TestCase):
    def test_whole_statement_and_initialiser_pass(self):
        for text in ("TRY(f(1, g(2)));", "{ TRY(f()); }", "const auto x = TRY(f());", "if (a) TRY(f());",
                     "else TRY(f());", "x = TRY(f(\n  2));", "case 1: TRY(f());", "// TRY(a) + 1", '"TRY(a) + 1"'):
            self.assertEqual(count(source.try_places, text), 0, text)

    def test_part_of_an_expression_fails(self):
        for text in ("return TRY(f());", "f(TRY(g()));", "S s{TRY(f()), 1};", "S s{.a = TRY(f()), .b = 1};",
                     "if (TRY(f())) {", "x = 1 + TRY(f());", "x = TRY(f()).size();", "a == TRY(f());",
                     "TRY(f(TRY(g())));"):
            self.assertEqual(count(source.try_places, text), 1, text)


class Allocation(unittest.TestCase):
    def test_new_and_delete_fail(self):
        self.assertEqual(count(source.allocation, "auto* p = new int; delete p;"), 2)

    def test_deleted_functions_and_prose_pass(self):
        self.assertEqual(count(source.allocation, 'A(const A&) = delete;  // new\n"new"; renew = 1;'), 0)


class LongFunctions(unittest.TestCase):
    def body(self, head, lines):
        return "namespace a {\nclass B {\n" + head + " {\n" + "    x;\n" * lines + "}\n};\n}\n"

    def test_a_long_body_fails_wherever_it_stands(self):
        for head in ("void f()", "int f() const noexcept", "B() : a{1}, b(2)", 'TEST_CASE("t")',
                     "template <class T>\nvoid f(T t)", "Result<struct X> f()"):
            self.assertEqual(count(source.long_functions, self.body(head, 60)), 1, head)
            self.assertEqual(count(source.long_functions, self.body(head, 50)), 0, head)

    def test_types_and_tables_may_be_long(self):
        for head in ("struct C", "enum class D : int", "constexpr int table[] =",
                     "constexpr auto table = std::to_array<int>("):
            self.assertEqual(count(source.long_functions, self.body(head, 90)), 0, head)


class Opening(unittest.TestCase):
    def test_needs_comment_and_licence(self):
        good = f"// What this file knows, in a sentence.\n{source.LICENCE}\nint x;\n"
        self.assertEqual(list(source.opening("a.cc", good)), [])
        self.assertEqual(len(list(source.opening("a.cc", "int x;\n"))), 2)
        self.assertEqual(len(list(source.opening("a.cc", good + "// TO" + "DO\n"))), 1)
        self.assertEqual(len(list(source.opening("a.cc", good + "x;\n" * 600))), 1)


class Layering(unittest.TestCase):
    def own(self, path, included):
        return bool(layering.own_include(Path(path), included))

    def test_up_and_sideways_fail(self):
        for path, included in (("src/storage/memory_storage.cc", "qimg/image.hpp"),
                               ("src/base/text.cc", "storage/file_storage.hpp"),
                               ("src/vm/vm.cc", "seed/compose.hpp"), ("src/seed/compose.cc", "qimg/vm.hpp"), ("src/cli/qimg/info.cc", "base/text.hpp"),
                               ("src/cli/qimg/info.cc", "cli/vmbox/up.hpp"), ("include/qimg/units.hpp", "qimg/storage.hpp"),
                               ("include/qimg/units.hpp", "base/text.hpp"), ("src/base/text.cc", "text.hpp")):
            self.assertTrue(self.own(path, included), (path, included))

    def test_down_and_public_pass(self):
        for path, included in (("src/storage/memory_storage.cc", "base/text.hpp"),
                               ("src/cli/qimg/info.cc", "qimg/operations/info.hpp"),
                               ("src/cli/qimg/info.cc", "cli/qimg/text.hpp"), ("src/vm/vm.cc", "qimg/seed.hpp"),
                               ("include/qimg/vm.hpp", "qimg/seed.hpp"), ("include/qimg/image.hpp", "qimg/units.hpp")):
            self.assertFalse(self.own(path, included), (path, included))

    def test_foreign_headers_stay_at_home(self):
        self.assertTrue(layering.foreign_include(Path("src/cli/vmbox/up.cc"), "libvirt/libvirt.h"))
        self.assertTrue(layering.foreign_include(Path("src/vm/vm.cc"), "curl/curl.h"))
        self.assertFalse(layering.foreign_include(Path("src/vm/vm.cc"), "libvirt/libvirt.h"))
        self.assertFalse(layering.foreign_include(Path("src/vm/vm.cc"), "vector"))


if __name__ == "__main__":
    unittest.main()
