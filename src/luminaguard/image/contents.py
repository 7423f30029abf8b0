"""What a project finds in an image: commands, Python distributions, npm packages."""

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from luminaguard.image.guestpython import python_version
from luminaguard.image.places import MODULES_HOME, canonical_name
from luminaguard.image.tree import Tree

_PROGRAMS = re.compile(r"(?:usr/bin|usr/sbin|usr/local/bin)/([^/]+)")
# Source: PyPA, "Recording installed projects"; Debian ships the older .egg-info as well.
_DISTRIBUTION = re.compile(
    r"usr/(?:local/)?lib/python3[^/]*/(?:dist|site)-packages/([^/]+?)-([^/-]+)(?:-py3[^/]*)?"
    r"\.(?:dist|egg)-info(?:/METADATA|/PKG-INFO)?"
)
_NODE_COMMAND = re.compile(rf"{MODULES_HOME}/node_modules/\.bin/([^/]+)")
_MODULE = re.compile(rf"{MODULES_HOME}/node_modules/((?:@[^/]+/)?[^/@.][^/]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Names and versions only; what they are made from is in the manifest's packages."""

    python: str = ""
    """Version of the guest's Python, "3.11"; empty where it is not known."""
    programs: tuple[str, ...] = ()
    """Commands that are on a machine's search path."""
    distributions: Mapping[str, str] = field(default_factory=dict[str, str])
    """Normalized name of a Python distribution → version."""
    node_modules: tuple[str, ...] = ()
    """npm packages that a project can import."""
    node_commands: tuple[str, ...] = ()
    """Commands that npm's scripts find among them."""


def contents_of(tree: Tree) -> Contents:
    """Read what there is from the names in a finished root directory."""
    programs: set[str] = set()
    distributions: dict[str, str] = {}
    modules: set[str] = set()
    commands: set[str] = set()
    for path, node in tree:
        if not stat.S_ISDIR(node.mode) and (found := _PROGRAMS.fullmatch(path)):
            programs.add(found[1])
        elif found := _NODE_COMMAND.fullmatch(path):
            commands.add(found[1])
        elif found := _DISTRIBUTION.fullmatch(path):
            distributions[canonical_name(found[1])] = found[2]
        elif stat.S_ISDIR(node.mode) and (found := _MODULE.fullmatch(path)):
            modules.add(found[1])
    return Contents(
        python=python_version(tree),
        programs=tuple(sorted(programs)),
        distributions=dict(sorted(distributions.items())),
        node_modules=tuple(sorted(modules)),
        node_commands=tuple(sorted(commands)),
    )
