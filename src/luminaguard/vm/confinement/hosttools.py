"""The host's programs that confine a machine."""

import os
import shutil

from luminaguard.errors import HypervisorUnavailable

_PACKAGES = {
    "bwrap": "bubblewrap",
    "nsenter": "util-linux",
    "prlimit": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}


def tool(name: str) -> str:
    """Return the path of a host tool.

    Raises:
        HypervisorUnavailable: it is not installed; the hint names its Debian package.
    """
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin")
    if path is None:
        package = _PACKAGES.get(name, name)
        raise HypervisorUnavailable(
            f"{name} is missing, so no micro-VM can be confined", hint=f"apt-get install {package}"
        )
    return path
