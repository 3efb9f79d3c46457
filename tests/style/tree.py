# What the style checks share: which files there are, C++ text without comments and literals, and how
# findings are told. Knows no rule.
# SPDX-License-Identifier: Apache-2.0
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE_FOLDERS = ("src", "include", "tests", "fuzz")

_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^()\s\\]{0,16})\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])*'",
    re.S)


def cpp_files(*folders):
    """Every C++ file below the folders, as paths relative to the tree's root."""
    return sorted(path.relative_to(ROOT) for folder in folders or CODE_FOLDERS
                  for path in (ROOT / folder).rglob("*") if path.suffix in (".cc", ".hpp"))


def scripts():
    """Every script of the tree, by its #! line: (path, interpreter's name)."""
    places = [ROOT / "dev", *(ROOT / ".ci").glob("*"), *(ROOT / "tests").rglob("*"), *(ROOT / "fuzz").rglob("*")]
    found = []
    for path in sorted(set(places)):
        if not path.is_file():
            continue
        first = path.open("rb").readline().decode("utf-8", "replace")
        if first.startswith("#!"):
            found.append((path.relative_to(ROOT), first.split("/")[-1].split()[-1]))
    return found


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def _blank(match):
    whole = match.group(0)
    ends = '""' if whole[0] in '"R' else "''" if whole[0] == "'" else ""
    return ends + "\n" * whole.count("\n")


def code(path):
    """The file's text with comments and literals emptied; line numbers stay."""
    return _TOKEN.sub(_blank, text(path))


def line_of(source, position):
    return source.count("\n", 0, position) + 1


def report(findings, looked_at):
    """Prints the findings and ends the program; a check that looked at nothing has not passed."""
    for finding in findings:
        print(finding)
    print(f"{len(findings)} findings in {looked_at} files")
    sys.exit(1 if findings or looked_at == 0 else 0)
