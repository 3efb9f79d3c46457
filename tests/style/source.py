#!/usr/bin/env python3
# House rules that can be read off a C++ file: its opening, its size, TRY's places, no new or delete.
# Include rules are in layering.py, layout is clang-format's.
# SPDX-License-Identifier: Apache-2.0
import re

import tree

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
LICENCE = "// SPDX-License-Identifier: Apache-2.0"
SCOPE = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b")


def opening(path, source):
    """A comment of at least one line, then the licence, before anything else."""
    lines = source.split("\n")
    comment = []
    while lines and lines[0].startswith("//"):
        comment.append(lines.pop(0))
    if LICENCE not in comment:
        yield f"{path}:1: no line `{LICENCE}` in the opening comment"
    if not any(len(line) > 20 and line != LICENCE for line in comment):
        yield f"{path}:1: no comment that says what the file knows"
    if re.search(r"\b(TODO|FIXME|XXX)\b", source):
        yield f"{path}: holds TODO, FIXME or XXX"
    if source.count("\n") > FILE_LINES_MAX:
        yield f"{path}: {source.count(chr(10))} lines, more than {FILE_LINES_MAX}"


def closing(code, start):
    """The position behind the bracket that closes the one at `start`."""
    depth = 0
    for at in range(start, len(code)):
        depth += {"(": 1, ")": -1}.get(code[at], 0)
        if depth == 0:
            return at + 1
    return len(code)


def try_places(path, code):
    """TRY is a whole statement (`TRY(f());`) or a whole initialiser (`x = TRY(f());`)."""
    for match in re.finditer(r"(?<!define )\bTRY\s*\(", code):
        before = code[: match.start()].rstrip()
        after = code[closing(code, match.end() - 1):].lstrip()
        statement = before == "" or before[-1] in ";{}:)" or before.endswith("else") or before.endswith("do")
        initialiser = before.endswith("=") and before[-2:-1] not in set("=<>!+-*/|&^%")
        if not (statement or initialiser) or not after.startswith(";"):
            yield (f"{path}:{tree.line_of(code, match.start())}: TRY is neither a whole statement nor a whole"
                   " initialiser")


def allocation(path, code):
    for match in re.finditer(r"\b(new|delete)\b", code):
        if code[: match.start()].rstrip().endswith("=") and match.group(1) == "delete":
            continue
        if re.search(r"#\s*include\s*<$", code[: match.start()]):
            continue
        yield f"{path}:{tree.line_of(code, match.start())}: {match.group(1)}: use values or unique_ptr"


def long_functions(path, code):
    """Counts lines from a body's `{` to its `}`: a block that is not in another one and is neither a
    namespace, a type, nor an initialiser behind `=` or inside parentheses."""
    code = re.sub(r"(?m)^\s*#.*(?:\\\n.*)*$", lambda match: "\n" * match.group(0).count("\n"), code)
    stack = []
    head_start = 0
    for match in re.finditer(r"[{};]", code):
        head = code[head_start: match.start()]
        head_start = match.end()
        if match.group(0) == "{":
            in_scope = all(kind == "scope" for kind, _ in stack)
            scope = SCOPE.search(re.sub(r"template\s*<[^{]*?>\s*(?=\w)", "", head)) and "(" not in head
            kind = "inner" if not in_scope else "scope" if scope else "data" if head.rstrip().endswith(("=", "(", ",")) else "body"
            stack.append((kind, match.start()))
        elif match.group(0) == "}" and stack:
            kind, start = stack.pop()
            lines = code.count("\n", start, match.start()) + 1
            if kind == "body" and lines > FUNCTION_LINES_MAX:
                yield (f"{path}:{tree.line_of(code, start)}: a function of {lines} lines, more than"
                       f" {FUNCTION_LINES_MAX}")


def main():
    findings = []
    files = tree.cpp_files()
    for path in files:
        code = tree.code(path)
        findings += [*opening(path, tree.text(path)), *try_places(path, code), *allocation(path, code),
                     *long_functions(path, code)]
    tree.report(findings, len(files))


if __name__ == "__main__":
    main()
