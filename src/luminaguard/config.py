"""Settings: flags over environment over the configuration file over defaults.

Plain dataclasses over the standard library's TOML reader: a settings framework would cost more
start-up time than the rest of `luminaguard exec` (docs/adr/0002). Unknown keys and wrong types are
errors that say where and what was meant.
"""

import difflib
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import TypeVar, cast

from luminaguard.errors import ConfigError
from luminaguard.llm.names import PROVIDERS
from luminaguard.llm.settings import ModelSettings, ProviderSettings
from luminaguard.vm.pool.settings import PoolSettings

APPROVERS = ("tty", "tui", "queue", "deny", "all")
"""Names of those who can decide."""

_Number = TypeVar("_Number", int, float)


def _within(low: _Number, high: _Number, default: _Number) -> _Number:
    """Return a dataclass field for a number that makes sense between `low` and `high` only."""
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalSettings:
    """`[approval]`: how humans are asked."""

    timeout_s: float = _within(1.0, 7 * 86_400.0, 300.0)
    """Seconds until a request expires; nothing happens then."""
    allow_unattended: bool = False
    """Lets `--approver all` approve everything without a human, and other processes of yours
    approve without the approver secret."""
    escalate_after_s: float = _within(0.0, 7 * 86_400.0, 0.0)
    """Seconds without an answer on the terminal after which others are asked as well; 0: never."""
    escalate_to: str = "queue"
    """Who that is: "queue", which is whoever attaches from another process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSettings:
    """`[vm]`: the shape of machines."""

    memory_mib: int = _within(192, 65_536, 512)
    """Below 192 MiB no guest with Python in it works reliably."""
    scratch_mib: int = _within(8, 8192, 2048)
    """Size of the disk that holds /home, /tmp and all changes inside a machine."""
    image: str = "default"
    profile: str = "strict"
    """How guests hold their commands, by name: see docs/reference/hardening.md."""
    lsm: str = "apparmor"
    """What guests' kernels enforce: "apparmor" or "selinux"."""
    isolation: tuple[str, ...] = ()
    """Tiers and backends that may be used, best first: see docs/reference/backends/. Empty:
    hardware virtualization, else emulation; never anything weaker."""
    allow_missing_layers: tuple[str, ...] = ()
    """Jail layers that may be absent on this host; otherwise LuminaGuard refuses to run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceSettings:
    """`[workspace]`: what goes in and comes out."""

    max_files: int = _within(1, 10_000_000, 200_000)
    max_bytes: int = _within(1, 8 * 1024**3, 2 * 1024**3)
    """At most what a machine's disk slot can hold."""
    max_changeset_bytes: int = _within(1, 8 * 1024**3, 1024**3)
    include: tuple[str, ...] = ()
    """Patterns sent although ignore rules or the secret list would leave them out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """`[policy]`: what is asked."""

    no_effect: bool = True
    """A call that is red only because its effect was unknown is released when it had none."""
    rules: str = ""
    """Your rules file, from the configuration file's directory; empty: policy.toml."""
    project_rules: bool = True
    """Read luminaguard-policy.toml of a workspace, which may only tighten."""
    grants: bool = True
    """Offer to remember approvals, and use those that were."""
    grant_lifetime_s: float = _within(60.0, 7 * 86_400.0, 8 * 3600.0)
    """Seconds until a remembered approval expires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """`[projects."/path"]`: what holds for one directory and all below it."""

    image: str = ""
    """Name of the guest image; empty: that of `[vm]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be configured, and where LuminaGuard keeps its things."""

    state_dir: Path
    cache_dir: Path
    config_file: Path
    approval: ApprovalSettings = field(default_factory=ApprovalSettings)
    vm: VmSettings = field(default_factory=VmSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)
    workspace: WorkspaceSettings = field(default_factory=WorkspaceSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    providers: Mapping[str, ProviderSettings] = field(default_factory=dict[str, ProviderSettings])
    """Name of a provider of models → how it is reached."""
    projects: Mapping[str, ProjectSettings] = field(default_factory=dict[str, ProjectSettings])
    """Absolute directory → what holds there. Only the user's own file says so: a workspace is not
    trusted to choose what it runs in."""
    origins: Mapping[str, str] = field(default_factory=dict[str, str])
    """"section.key" → where its value comes from, for those that are not defaults."""

    @property
    def runtime_dir(self) -> Path:
        """Private directory for locks of living processes."""
        return self.state_dir / "run"

    @property
    def grants_dir(self) -> Path:
        """Private directory for remembered approvals."""
        return self.state_dir / "grants"

    @property
    def trust_dir(self) -> Path:
        """Private directory for the MCP servers that the user trusts."""
        return self.state_dir / "mcp"

    @property
    def rules_file(self) -> Path:
        """The user's own rules; the file need not exist."""
        return self.config_file.parent / (self.policy.rules or "policy.toml")

    @property
    def own_dirs(self) -> tuple[Path, ...]:
        """Directories that no workspace may contain or lie in."""
        return (self.state_dir, self.cache_dir, self.config_file.parent)

    def image_for(self, workspace: Path) -> str:
        """Return the name of the image for a workspace: what the nearest directory above it says.

        `workspace`: absolute, without symbolic links.
        """
        named = {Path(place).resolve(): project.image for place, project in self.projects.items()}
        for place in (workspace, *workspace.parents):
            if named.get(place):
                return named[place]
        return self.vm.image


Section = (
    ApprovalSettings
    | VmSettings
    | PoolSettings
    | WorkspaceSettings
    | PolicySettings
    | ModelSettings
    | ProviderSettings
    | ProjectSettings
)

_SECTIONS: dict[str, type[Section]] = {
    "approval": ApprovalSettings,
    "vm": VmSettings,
    "pool": PoolSettings,
    "workspace": WorkspaceSettings,
    "policy": PolicySettings,
    "model": ModelSettings,
}
_PROJECTS = "projects"
_PROVIDERS = "providers"
_MODEL_VARIABLE = "LUMINAGUARD_MODEL"


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the configuration file and the environment.

    Raises:
        ConfigError: the file cannot be read, or holds an unknown key or a wrong type.
    """
    state, cache, config = _directories(environ)
    config_file = _from_env(environ, "LUMINAGUARD_CONFIG") or config / "config.toml"
    tables = _read(config_file)
    origins: dict[str, str] = {}
    projects = _projects(tables.pop(_PROJECTS, {}), config_file, environ)
    providers = _providers(tables.pop(_PROVIDERS, {}), config_file)
    parsed = {
        name: _section(kind, name, tables.get(name, {}), config_file)
        for name, kind in _SECTIONS.items()
    }
    for name, table in tables.items():
        origins |= {f"{name}.{key}": str(config_file) for key in cast("dict[str, object]", table)}
    model = cast("ModelSettings", parsed["model"])
    if named := environ.get(_MODEL_VARIABLE):
        model = replace(model, name=named)
        origins["model.name"] = _MODEL_VARIABLE
    return Settings(
        state_dir=_from_env(environ, "LUMINAGUARD_STATE_DIR") or state,
        cache_dir=_from_env(environ, "LUMINAGUARD_CACHE_DIR") or cache,
        config_file=config_file,
        approval=cast("ApprovalSettings", parsed["approval"]),
        vm=cast("VmSettings", parsed["vm"]),
        pool=cast("PoolSettings", parsed["pool"]),
        workspace=cast("WorkspaceSettings", parsed["workspace"]),
        policy=cast("PolicySettings", parsed["policy"]),
        model=model,
        providers=providers,
        projects=projects,
        origins=origins,
    )


def _directories(environ: Mapping[str, str]) -> tuple[Path, Path, Path]:
    """Return the state, cache and configuration directories by the platform's custom."""
    home = Path(environ.get("HOME") or Path.home())
    if sys.platform == "darwin":
        support = home / "Library" / "Application Support" / "luminaguard"
        return support / "state", home / "Library" / "Caches" / "luminaguard", support
    if sys.platform == "win32":
        local = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "luminaguard"
        return local / "state", local / "cache", local

    def xdg(name: str, fallback: str) -> Path:
        return (_from_env(environ, name) or home / fallback) / "luminaguard"

    return (
        xdg("XDG_STATE_HOME", ".local/state"),
        xdg("XDG_CACHE_HOME", ".cache"),
        xdg("XDG_CONFIG_HOME", ".config"),
    )


def _from_env(environ: Mapping[str, str], name: str) -> Path | None:
    text = environ.get(name)
    if not text:
        return None
    path = Path(text)
    if not path.is_absolute():
        raise ConfigError(f"{name}={text} is not an absolute path", hint=f"set {name} to one")
    return path


def _read(path: Path) -> dict[str, object]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for name in tables:
        _known(name, (*_SECTIONS, _PROJECTS, _PROVIDERS), f"section in {path}")
    return tables


def _known(name: str, names: tuple[str, ...], what: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
        raise ConfigError(f"unknown {what}: {name}", hint=hint)


def _projects(tables: object, path: Path, environ: Mapping[str, str]) -> dict[str, ProjectSettings]:
    if not isinstance(tables, dict):
        raise ConfigError(f"{path}: {_PROJECTS} must be a table", hint='write [projects."/path"]')
    found: dict[str, ProjectSettings] = {}
    for place, table in cast("dict[str, object]", tables).items():
        home = environ.get("HOME", "~")
        whole = f"{home}{place[1:]}" if place == "~" or place.startswith("~/") else place
        if not Path(whole).is_absolute():
            raise ConfigError(
                f"{path}: {place!r} is not the absolute path of a project",
                hint='write [projects."/path/to/project"], or "~/..."',
            )
        project = _section(ProjectSettings, f'projects."{place}"', table, path)
        found[whole] = cast("ProjectSettings", project)
    return found


def _providers(tables: object, path: Path) -> dict[str, ProviderSettings]:
    if not isinstance(tables, dict):
        raise ConfigError(f"{path}: {_PROVIDERS} must be a table", hint="write [providers.NAME]")
    found: dict[str, ProviderSettings] = {}
    for name, table in cast("dict[str, object]", tables).items():
        _known(name, tuple(PROVIDERS), f"provider in {path}")
        section = _section(ProviderSettings, f"{_PROVIDERS}.{name}", table, path)
        found[name] = cast("ProviderSettings", section)
    return found


def _section(kind: type[Section], name: str, table: object, path: Path) -> Section:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {name} must be a table", hint=f"write [{name}]")
    values: dict[str, object] = {}
    known = {item.name: item for item in fields(kind)}
    for key, value in cast("dict[str, object]", table).items():
        _known(key, tuple(known), f"key in [{name}] of {path}")
        where = f"{path}: {name}.{key}"
        values[key] = _in_range(_typed(value, known[key].default, where), known[key], where)
    try:
        return kind(**values)  # pyright: ignore[reportArgumentType] - checked one by one just above
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", hint=error.hint) from error


def _in_range(value: object, item: Field[object], where: str) -> object:
    low, high = item.metadata.get("range", (None, None))
    if isinstance(value, int | float) and low is not None and not low <= value <= high:
        raise ConfigError(f"{where} must lie between {low:g} and {high:g}", hint=_default(item))
    return value


def _default(item: Field[object]) -> str:
    return f"without it, {item.name} is {item.default}"


def _typed(value: object, default: object, where: str) -> object:
    """Return `value` as the type of `default`."""
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise ConfigError(f"{where} must be true or false")
    if isinstance(default, int | float):
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(value) if isinstance(default, float) else int(value)
        raise ConfigError(f"{where} must be a number, not below 0")
    if isinstance(default, tuple):
        items = cast("list[object]", value) if isinstance(value, list) else None
        if items is not None and all(isinstance(item, str) for item in items):
            return tuple(cast("list[str]", items))
        raise ConfigError(f"{where} must be a list of strings")
    if isinstance(value, str):
        return value
    raise ConfigError(f"{where} must be a string")
