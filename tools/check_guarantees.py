"""Check that docs/guarantees.toml and the tests' guarantee marks say the same, both ways.

Every guarantee has at least one test marked `@pytest.mark.guarantee("G1")`, the file lists exactly
the marked tests, and every mark names a guarantee that exists. `--update` rewrites the lists from
the marks; the wording of a guarantee is only ever changed by hand.
"""

import argparse
import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

FILE = "docs/guarantees.toml"
Marks = dict[str, list[str]]
"""Guarantee id → ids of the tests marked with it, sorted."""

HEADER = """\
# What LuminaGuard guarantees, and the tests that fail when the control behind it is taken away.
# The lists of tests are written by `tools/check_guarantees.py --update` from the tests' marks.
"""


def marks_of(node: ast.expr) -> Iterator[str]:
    """Yield the ids in `pytest.mark.guarantee("G1", "G2")`, also inside a list of marks."""
    if isinstance(node, ast.List | ast.Tuple):
        for element in node.elts:
            yield from marks_of(element)
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.guarantee":
        for argument in node.args:
            yield str(argument.value) if isinstance(argument, ast.Constant) else "(not a literal)"


def tests_in(body: list[ast.stmt], prefix: str, inherited: set[str]) -> Iterator[tuple[str, str]]:
    """Yield (guarantee id, test id) for every mark on, or inherited by, the tests of a body."""
    own = set(inherited)
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            own.update(marks_of(node.value))
    for node in body:
        if isinstance(node, ast.ClassDef):
            marks = own.union(*(marks_of(decorator) for decorator in node.decorator_list))
            yield from tests_in(node.body, f"{prefix}::{node.name}", marks)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            marks = own.union(*(marks_of(decorator) for decorator in node.decorator_list))
            if node.name.startswith("test_"):
                yield from ((mark, f"{prefix}::{node.name}") for mark in marks)


def collect(root: Path) -> Marks:
    """Return every mark in tests/."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in sorted((root / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for guarantee, test in tests_in(tree.body, path.relative_to(root).as_posix(), set()):
            found[guarantee].add(test)
    return {guarantee: sorted(tests) for guarantee, tests in found.items()}


def breaches(stated: list[dict[str, object]], marks: Marks) -> Iterator[str]:
    """Yield a line for each difference between the file and the marks."""
    known = {str(guarantee["id"]) for guarantee in stated}
    for guarantee in stated:
        tests = marks.get(str(guarantee["id"]), [])
        if not tests:
            first_line = str(guarantee["text"]).splitlines()[0]
            yield f"{guarantee['id']} has no test marked with it: {first_line} ..."
        elif guarantee.get("tests") != tests:
            yield f"{guarantee['id']} lists other tests than are marked: run {sys.argv[0]} --update"
    for unknown in sorted(marks.keys() - known):
        yield f"{unknown} is no guarantee of {FILE}, but marks {', '.join(marks[unknown])}"


def rendered(stated: list[dict[str, object]], marks: Marks) -> str:
    """Return the file's text with the lists of tests as they are marked."""
    parts = [HEADER]
    for guarantee in stated:
        tests = "".join(f'  "{test}",\n' for test in marks.get(str(guarantee["id"]), []))
        parts.append(
            f'[[guarantee]]\nid = "{guarantee["id"]}"\n'
            f'text = """\\\n{guarantee["text"]}"""\ntests = [\n{tests}]\n'
        )
    return "\n".join(parts)


def main() -> int:
    """Print every breach, or rewrite the lists, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    options = parser.parse_args()
    file = options.root / FILE
    marks = collect(options.root)
    stated = tomllib.loads(file.read_text(encoding="utf-8"))["guarantee"]
    if options.update:
        file.write_text(rendered(stated, marks), encoding="utf-8")
        stated = tomllib.loads(file.read_text(encoding="utf-8"))["guarantee"]
    found = list(breaches(stated, marks))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
