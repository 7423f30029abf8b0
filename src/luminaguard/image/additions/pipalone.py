"""Started in the guest's own Python: pip, which may download but start no program.

pip builds what comes as source by running its code; `--only-binary` forbids that for what an index
lists, not for what a wheel's metadata names by address. So this process cannot start anything, and
cannot write a file beyond a limit. Standard library only: nothing of LuminaGuard is there.

    pipalone.py PIP_WHEEL MAX_FILE_BYTES pip's arguments...
"""

import runpy
import sys
from typing import NoReturn

if sys.platform != "win32":
    import resource

# Source: Python's "Audit events table". A hook cannot be taken away once it is there.
_STARTING = frozenset(
    {
        "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile",
        "os.system", "pty.spawn", "subprocess.Popen",
    }
)  # fmt: skip
REFUSAL = "pip may not start a program here"


def _watch(event: str, _arguments: object) -> None:
    if event in _STARTING:
        raise PermissionError(REFUSAL)


def main(pip: str, max_file_bytes: int, arguments: list[str]) -> NoReturn:
    """Run pip; never returns."""
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    sys.addaudithook(_watch)
    sys.path.insert(0, pip)
    sys.argv = ["pip", *arguments]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
