"""The guest agent as the host hands it to guests: its sources, nothing that lies beside them."""

import importlib.util
from functools import cache
from hashlib import sha256
from pathlib import Path

from luminaguard.errors import ImageError
from luminaguard.image.initrd import agent_cpio


def agent_directory() -> Path:
    """Return where the agent's sources lie.

    Raises:
        ImageError: the agent is not installed.
    """
    found = importlib.util.find_spec("luminaguard_guest")
    places = found.submodule_search_locations if found is not None else None
    if not places:
        raise ImageError("the guest agent is not installed", hint="reinstall luminaguard")
    return Path(places[0])


def copy_agent(target: Path) -> None:
    """Copy the agent's sources into the new directory `target`. Blocking."""
    target.mkdir(mode=0o755)
    for source in sorted(agent_directory().glob("*.py")):
        (target / source.name).write_bytes(source.read_bytes())


@cache
def agent_archive() -> bytes:
    """Return the guest agent as the second part of the initial RAM disk."""
    return agent_cpio(agent_directory())


@cache
def agent_digest() -> str:
    """Return what changes with the guest agent's sources."""
    return sha256(agent_archive()).hexdigest()
