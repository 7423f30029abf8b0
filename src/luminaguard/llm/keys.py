"""Where a provider's key comes from: a command, the environment, the keyring.

Keys are held in memory only. They are never recorded, logged, shown, or sent anywhere but to their
provider; guests never see the environment that they come from.
"""

import os
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from luminaguard.errors import ModelAuthError
from luminaguard.llm.names import Provider

SERVICE = "luminaguard"
"""Under which the keyring keeps keys, one per provider."""
COMMAND_TIMEOUT_S = 60.0
"""A password manager may ask its user first."""


@dataclass(frozen=True, slots=True)
class Key:
    """A secret that does not show itself."""

    _value: str
    source: str
    """Where it was found, for people: "ANTHROPIC_API_KEY", "keyring", ..."""

    def __repr__(self) -> str:
        """Return where it is from, and nothing of it."""
        return f"Key(from {self.source})"

    def reveal(self) -> str:
        """Return the key itself, for the provider's client."""
        return self._value

    def taken_out_of(self, text: str) -> str:
        """Return text of a provider without the key, should it have been echoed."""
        return text.replace(self._value, "[key]")


def keyring_password(provider: str) -> str | None:
    """Return what the user's keyring holds for a provider; None without a usable keyring."""
    try:
        import keyring  # noqa: PLC0415 - slow to load, and only this needs it
        from keyring.errors import KeyringError  # noqa: PLC0415
    except ImportError:
        return None
    try:
        return keyring.get_password(SERVICE, provider)
    except KeyringError:
        return None


def find_key(
    provider: Provider,
    *,
    key_command: str = "",
    environ: Mapping[str, str] = os.environ,
    keyring: Callable[[str], str | None] = keyring_password,
) -> Key | None:
    """Return the key of a provider, or None for one that needs none and was given none.

    Args:
        provider: Whose key.
        key_command: Prints the key; comes before everything else.
        environ: The host's environment.
        keyring: Looks a provider up in the user's keyring.

    Raises:
        ModelAuthError: there is none, or the command fails.
    """
    if key_command:
        return Key(_printed_by(key_command), f"the command {shlex.split(key_command)[0]!r}")
    if value := environ.get(provider.key_variable, "").strip():
        return Key(value, provider.key_variable)
    if found := keyring(provider.name):
        return Key(found, "keyring")
    if not provider.needs_key:
        return None
    raise ModelAuthError(
        f"there is no key for {provider.title}",
        hint=f"set {provider.key_variable}, or `keyring set {SERVICE} {provider.name}`, or "
        f"key_command under [providers.{provider.name}] in the configuration",
    )


def _printed_by(command: str) -> str:
    try:
        ran = subprocess.run(
            shlex.split(command),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ModelAuthError(f"the key command cannot be run: {error}") from error
    key = ran.stdout.strip()
    if ran.returncode != 0 or not key or "\n" in key:
        raise ModelAuthError(
            f"the key command ended with code {ran.returncode} and printed no single line",
            hint=ran.stderr.strip()[:300] or None,
        )
    return key
