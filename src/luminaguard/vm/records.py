"""Harvest records as the domain knows them, from the messages that carry them."""

from luminaguard.domain import harvest
from luminaguard.vm import channel as wire


def as_record(message: wire.Message) -> harvest.UpperRecord | None:
    """Return the record in a message; None if it carries none."""
    match message:
        case wire.FileBytes(offset=offset, content=content):
            return harvest.FileBytes(offset, content)
        case wire.UpperDirectory(path=path, mode=mode, opaque=opaque, redirect=redirect):
            return harvest.UpperDirectory(path, mode, opaque, redirect)
        case wire.UpperFile(path=path, mode=mode, size=size, mtime_ns=mtime_ns):
            return harvest.UpperFile(path, mode, size, mtime_ns)
        case wire.UpperSymlink(path=path, target=target):
            return harvest.UpperSymlink(path, target)
        case wire.Whiteout(path=path):
            return harvest.Whiteout(path)
        case wire.UpperSpecial(path=path, kind=kind):
            return harvest.UpperSpecial(path, kind)
        case _:
            return None
