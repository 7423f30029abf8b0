"""Where added packages lie in an image, and what Python distributions are called."""

import re

MODULES_HOME = "usr/local/lib/luminaguard"
"""Below it `node_modules`, which a machine links at its root: Node looks there from everywhere."""

TOOL_HOME = "usr/local/lib"
"""Below it `node_modules` with npm itself."""


def canonical_name(name: str) -> str:
    """Return the one spelling of a distribution's name. Source: PEP 503, "Normalized Names"."""
    return re.sub(r"[-_.]+", "-", name).lower()
