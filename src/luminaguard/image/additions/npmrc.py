"""Which npm registry this host is configured with, and what it must be told to let us in.

Read as npm reads it: environment, then the user's file, then the host's; npm itself is asked only
for its built-in default. No address is known here.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_GLOBAL = ("/usr/etc/npmrc", "/usr/local/etc/npmrc", "/etc/npmrc")
_MAX_BYTES = 1 << 20
_TIMEOUT_S = 30.0
_LINE = re.compile(r"^\s*([^=;#\s]+)\s*=\s*(.*?)\s*$", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NpmConfig:
    """Settings of npm, by their names in a `.npmrc`."""

    values: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """May hold tokens: never shown, never stored."""

    def registry_of(self, package: str) -> str:
        """Return the registry for a package, with a slash at its end; empty if none is set."""
        scope = package.partition("/")[0] if package.startswith("@") else ""
        found = self.values.get(f"{scope}:registry", "") if scope else ""
        found = found or self.values.get("registry", "")
        return f"{found.rstrip('/')}/" if found else ""

    def authorization(self, address: str) -> str:
        """Return the `Authorization` header for an address; empty if there is none for it.

        Source: npm's documentation, "npmrc", "Auth related configuration": the longest of
        `//host/path/` that the address begins with.
        """
        parts = urlsplit(address)
        path = f"//{parts.netloc}{parts.path}"
        while path.count("/") >= 3 or path.endswith("/"):
            path = path[: path.rindex("/") + 1]
            for key, scheme in (("_authToken", "Bearer"), ("_auth", "Basic")):
                value = self.values.get(f"{path}:{key}")
                if value:
                    return f"{scheme} {value}"
            path = path.rstrip("/")
        return ""

    @property
    def certificates(self) -> str:
        """A file with certificates to trust besides the system's; empty if none is set."""
        return self.values.get("cafile", "")


def read_config(environ: Mapping[str, str] = os.environ) -> NpmConfig:
    """Read npm's configuration; what cannot be read counts as absent."""
    own = {
        key[len("npm_config_") :].lower()
        if key.islower()
        else key[len("NPM_CONFIG_") :].lower(): value
        for key, value in environ.items()
        if key.lower().startswith("npm_config_")
    }
    home = environ.get("HOME", "")
    user = own.get("userconfig") or (f"{home}/.npmrc" if home else "")
    everywhere = [own["globalconfig"]] if "globalconfig" in own else [*_GLOBAL]
    values: dict[str, str] = {}
    for file in (*everywhere, user):
        if file:
            values |= _file(Path(file), environ)
    values |= {key: value for key, value in own.items() if value}
    if "registry" not in values and (built_in := _asked(environ)):
        values["registry"] = built_in
    return NpmConfig(values=values)


def _file(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return {}
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return {
        key: _VARIABLE.sub(lambda name: environ.get(name[1], ""), value.strip("\"'"))
        for key, value in _LINE.findall(text)
    }


def _asked(environ: Mapping[str, str]) -> str:
    """Return the registry that the host's npm has built in; empty without npm."""
    npm = shutil.which("npm", path=environ.get("PATH"))
    if npm is None:
        return ""
    try:
        # In `/`, so that no project's .npmrc takes part.
        asked = subprocess.run(
            [npm, "config", "get", "registry"],
            cwd="/", env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    address = asked.stdout.strip()
    return address if address.startswith(("https://", "http://")) else ""
