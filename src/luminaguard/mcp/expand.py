"""`${NAME}` in configurations: the host's environment, where secrets belong, and only there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from luminaguard.errors import ConfigError

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_ENVIRONMENT = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """Fills variables in.

    A name of the environment is expanded in `env` and `headers` alone: command lines are seen by
    every user of the machine, addresses end up in logs.
    """

    environ: Mapping[str, str]
    places: Mapping[str, str]
    """Names that are no secret, expanded everywhere: `workspaceFolder`, `userHome`, ..."""

    def secret(self, text: str, where: str) -> str:
        """Return a value of `env` or `headers` with its variables filled in.

        Raises:
            ConfigError: a variable is not set, or cannot be known here.
        """
        return _VARIABLE.sub(lambda found: self._secret(found[1], where), text)

    def plain(self, text: str, where: str) -> str:
        """Return any other value with places filled in.

        Raises:
            ConfigError: it names something else.
        """
        return _VARIABLE.sub(lambda found: self._plain(found[1], where), text)

    def _secret(self, name: str, where: str) -> str:
        if name in self.places:
            return self.places[name]
        matched = _ENVIRONMENT.fullmatch(name)
        if matched is None:
            raise ConfigError(
                f"{where}: ${{{name}}} cannot be filled in here",
                hint="write ${NAME}, and set NAME in the environment",
            )
        variable, default = matched[1], matched[2]
        value = self.environ.get(variable) or default
        if value is None:
            raise ConfigError(
                f"{where}: the variable {variable} is not set", hint=f"export {variable}=..."
            )
        return value

    def _plain(self, name: str, where: str) -> str:
        if name in self.places:
            return self.places[name]
        raise ConfigError(
            f"{where}: ${{{name}}} is not expanded here, only in env and headers",
            hint="command lines and addresses are seen by others; pass it in env or headers",
        )
