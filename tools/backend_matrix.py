"""Write the table of backends in docs/reference/backends/README.md from what the code says.

usage: backend_matrix.py [--update]      without it: exit 1 when the table is not current
"""

import sys
import tempfile
from pathlib import Path

from luminaguard.backends import BACKENDS
from luminaguard.config import load

PAGE = Path(__file__).parent.parent / "docs/reference/backends/README.md"
BEGIN, END = "<!-- table -->\n", "<!-- end -->\n"
VERIFIED = {
    "firecracker": "conformance suite over a strict double; jail with real processes; "
    "**Firecracker itself was not run**",
    "qemu": "everything, emulated, on Debian 12 x86-64, as root and as an ordinary user; "
    "**KVM, hvf and whpx never ran a guest**",
    "apple": "conformance suite over a double of Apple's classes; **never on a Mac**",
    "process": "conformance suite, life and walls on Debian 12 x86-64 (Linux 6.18), as root and as "
    "an ordinary user; **no other kernel**",
    "gvisor": "conformance suite, life and walls on Debian 12, runsc 20221219 with ptrace, "
    "as root and as an ordinary user; **kvm, systrap and newer releases never ran a guest**",
}
"""What was tried where: the one column that code cannot know."""


def table() -> str:
    """Return the table, one row for each backend."""
    lines = [
        "| backend | tier | snapshots | pause | disks swapped while running | verified |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as place:
        settings = load({"HOME": place})
        for backend in BACKENDS:
            can = backend.make(settings, None).capabilities
            flags = (can.snapshots, can.pause, can.swap_disks)
            marks = " | ".join("yes" if flag else "no" for flag in flags)
            tiers = ", ".join(tier.value for tier in backend.tiers)
            lines.append(f"| `{backend.name}` | {tiers} | {marks} | {VERIFIED[backend.name]} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Update the page, or say whether it is current."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = f"{before}{BEGIN}{table()}{END}{after}"
    if "--update" in sys.argv[1:]:
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    if page != wanted:
        print(f"{PAGE} does not show the backends as they are: run {sys.argv[0]} --update")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
