"""Install everything that the plan names below `out/`, as the paths of the image to be.

The working directory is the disk that the host wrote: `plan.json`, `wheels/`, `npm/`.
"""

import json
import sys
from pathlib import Path

from luminaguard.image.inside.compiled import compile_below
from luminaguard.image.inside.tarballs import link_commands, unpack_tarball
from luminaguard.image.inside.unusable import Unusable
from luminaguard.image.inside.wheels import install_wheel


def main() -> int:
    """Return the exit status; what is wrong is said on standard error."""
    plan = json.loads(Path("plan.json").read_text(encoding="utf-8"))
    out = Path("out")
    out.mkdir()
    try:
        for wheel in plan["wheels"]:
            install_wheel(Path(wheel), out, plan["python"])
        for package in plan["npm"]:
            unpack_tarball(Path(package["file"]), out / package["directory"])
        link_commands(plan["commands"], out)
    except Unusable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if plan["wheels"]:
        compile_below(out / f"usr/local/lib/python{plan['python']}", "out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
