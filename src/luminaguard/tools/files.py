"""Tools that read and change files.

Each is a few lines of Python that the guest's resident interpreter runs as the ordinary user, with
its arguments as JSON on standard input: no quoting, no shell, and the same measurement as for any
other command. Paths may be absolute or relative to the workspace.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from luminaguard.domain.calls import JsonValue, ToolSpec
from luminaguard.domain.execution import Execution
from luminaguard.tools.tool import only, schema, text_argument

_PRELUDE = """
import json, os, sys
a = json.load(sys.stdin)
def stop(text):
    sys.stderr.write(text + "\\n")
    raise SystemExit(1)
try:
"""

_EPILOGUE = """
except OSError as error:
    stop(f"{a.get('path')}: {error.strerror}")
except UnicodeDecodeError:
    stop(f"{a['path']}: not text in UTF-8")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTool:
    """A tool over files: its arguments in order, and what it does with them in the guest."""

    name: str
    description: str
    arguments: Mapping[str, str]
    """Argument name → description. All are required strings."""
    body: str
    """Python; `a` holds the arguments, `stop(text)` ends with an error."""

    @property
    def spec(self) -> ToolSpec:
        """As the model sees it."""
        return ToolSpec(
            name=self.name,
            description=self.description,
            parameters=schema(self.arguments, tuple(self.arguments)),
        )

    def plan(self, arguments: Mapping[str, JsonValue], workspace: str) -> Execution:
        """Return the program with its arguments on standard input."""
        only(arguments, tuple(self.arguments), self.name)
        given = {name: text_argument(arguments, name, self.name) for name in self.arguments}
        indented = "".join(f"    {line}\n" for line in self.body.strip().splitlines())
        return Execution(
            python=_PRELUDE + indented + _EPILOGUE,
            stdin=json.dumps(given).encode(),
            cwd=workspace,
            timeout_s=60.0,
        )


_PATH = "Path of the file, relative to the workspace."

FILE_TOOLS: tuple[FileTool, ...] = (
    FileTool(
        name="read_file",
        description="Return the text of a file.",
        arguments={"path": _PATH},
        body='sys.stdout.write(open(a["path"], encoding="utf-8", newline="").read())',
    ),
    FileTool(
        name="list_files",
        description="List a directory and everything below it, without .git.",
        arguments={"path": "Path of the directory, relative to the workspace; '.' for all."},
        body="""
def failed(error):
    raise error
for top, names, files in os.walk(a["path"], onerror=failed):
    names[:] = sorted(name for name in names if name != ".git")
    for name in sorted(files):
        print(os.path.relpath(os.path.join(top, name)))
""",
    ),
    FileTool(
        name="search_files",
        description="Find lines that match a Python regular expression, as path:line:text.",
        arguments={
            "pattern": "The regular expression.",
            "path": "File or directory to search, relative to the workspace.",
        },
        body="""
import re
try:
    wanted = re.compile(a["pattern"])
except re.error as error:
    stop(f"not a regular expression: {error}")
def candidates():
    if not os.path.isdir(a["path"]):
        yield a["path"]
    for top, names, files in os.walk(a["path"]):
        names[:] = sorted(name for name in names if name != ".git")
        yield from (os.path.join(top, name) for name in sorted(files))
for name in candidates():
    if os.path.isfile(name):
        with open(name, encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if wanted.search(line):
                    print(f"{os.path.relpath(name)}:{number}:{line.rstrip()}")
""",
    ),
    FileTool(
        name="write_file",
        description="Create a file, or replace one, with this text.",
        arguments={"path": _PATH, "content": "The whole new text."},
        body="""
os.makedirs(os.path.dirname(os.path.abspath(a["path"])), exist_ok=True)
with open(a["path"], "w", encoding="utf-8", newline="") as file:
    file.write(a["content"])
""",
    ),
    FileTool(
        name="edit_file",
        description="Replace one exact piece of text in a file; it must occur exactly once.",
        arguments={"path": _PATH, "old": "The text to replace.", "new": "What it becomes."},
        body="""
with open(a["path"], encoding="utf-8", newline="") as file:
    text = file.read()
count = text.count(a["old"]) if a["old"] else 0
if count != 1:
    stop(f"{a['path']}: the text to replace occurs {count} times, not once")
with open(a["path"], "w", encoding="utf-8", newline="") as file:
    file.write(text.replace(a["old"], a["new"]))
""",
    ),
    FileTool(
        name="apply_patch",
        description="Apply a unified diff, as `git diff` prints it, to one or more files; all of "
        "it or nothing.",
        arguments={"patch": "The diff, with paths relative to the workspace."},
        body="""
import subprocess
patch = a["patch"] if a["patch"].endswith("\\n") else a["patch"] + "\\n"
done = subprocess.run(
    ["git", "apply", "--recount", "--whitespace=nowarn", "-"],
    input=patch.encode(), stderr=subprocess.PIPE,
)
if done.returncode:
    stop(done.stderr.decode("utf-8", "replace").strip())
""",
    ),
    FileTool(
        name="delete_file",
        description="Delete a file.",
        arguments={"path": _PATH},
        body='os.unlink(a["path"])',
    ),
)
"""Every file tool; the order is the one that models see."""
