"""Tools that run a program: an argument vector, a shell line, Python code."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from luminaguard.domain.calls import JsonValue, ToolSpec
from luminaguard.domain.execution import Execution
from luminaguard.errors import ToolError
from luminaguard.tools.tool import only, schema, text_argument


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecTool:
    """`exec`: a program with its arguments, no shell. What `luminaguard exec` calls."""

    timeout_s: float = 600.0
    env: Mapping[str, str] | None = None
    stdin: bytes = b""

    @property
    def spec(self) -> ToolSpec:
        """One array of strings, the program first."""
        return ToolSpec(
            name="exec",
            description="Run a program with arguments in the workspace, without a shell.",
            parameters={
                "type": "object",
                "properties": {"argv": {"type": "array", "items": {"type": "string"}}},
                "required": ["argv"],
                "additionalProperties": False,
            },
        )

    def plan(self, arguments: Mapping[str, JsonValue], workspace: str) -> Execution:
        """Return the program as it is.

        Variables and standard input are the session's own; the call names them so that verdict,
        approval and record are bound to them.
        """
        only(arguments, ("argv", *self.bound_arguments()), "exec")
        for name, value in self.bound_arguments().items():
            if arguments.get(name) != value:
                raise ToolError(f"exec: {name!r} is not what this session was given")
        argv = arguments.get("argv")
        if not isinstance(argv, list) or not argv:
            raise ToolError("exec needs a non-empty list argument 'argv'")
        words: list[str] = []
        for word in argv:
            if not isinstance(word, str) or "\0" in word:
                raise ToolError("exec: every item of 'argv' must be a string without NUL bytes")
            words.append(word)
        return Execution(
            argv=tuple(words),
            cwd=workspace,
            timeout_s=self.timeout_s,
            env=self.env or {},
            stdin=self.stdin,
        )

    def bound_arguments(self) -> dict[str, JsonValue]:
        """Return what a call must name: which variables it gets, and what it reads."""
        bound: dict[str, JsonValue] = {}
        if self.env:
            bound["env"] = [*sorted(self.env)]
        if self.stdin:
            bound["stdin_sha256"] = sha256(self.stdin).hexdigest()
        return bound


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellTool:
    """`shell`: a line for bash."""

    timeout_s: float = 600.0

    @property
    def spec(self) -> ToolSpec:
        """One command string."""
        return ToolSpec(
            name="shell",
            description="Run a bash command line in the workspace. There is no network.",
            parameters=schema({"command": "The command line."}, ("command",)),
        )

    def plan(self, arguments: Mapping[str, JsonValue], workspace: str) -> Execution:
        """Return `bash -c COMMAND`."""
        only(arguments, ("command",), "shell")
        command = text_argument(arguments, "command", "shell")
        return Execution(argv=("/bin/bash", "-c", command), cwd=workspace, timeout_s=self.timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonTool:
    """`python`: code for the machine's resident interpreter."""

    timeout_s: float = 600.0

    @property
    def spec(self) -> ToolSpec:
        """One string of code."""
        return ToolSpec(
            name="python",
            description="Run Python code in the workspace and return what it prints.",
            parameters=schema({"code": "The program."}, ("code",)),
        )

    def plan(self, arguments: Mapping[str, JsonValue], workspace: str) -> Execution:
        """Return the code for a fork of the resident interpreter."""
        only(arguments, ("code",), "python")
        return Execution(
            python=text_argument(arguments, "code", "python"),
            cwd=workspace,
            timeout_s=self.timeout_s,
        )
