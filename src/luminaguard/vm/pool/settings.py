"""What a pool may do: how many machines, how long they live, how much memory is left to others."""

from dataclasses import dataclass, fields

from luminaguard.errors import ConfigError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """`[pool]`: sizes, times in seconds, memory in MiB. Checked when it is made.

    Raises:
        ConfigError: a value is absurd by itself or beside another one; the hint says what fits.
    """

    size: int = 2
    """Warm machines kept in store. 0: each one is made when it is asked for."""
    max_machines: int = 64
    """Machines alive at the same time, in store or in use."""
    max_waiting: int = 256
    """Requests that may wait for a machine."""
    patience_s: float = 60.0
    """Longest that a request waits before it is refused."""
    max_age_s: float = 3600.0
    """Age at which a machine in store is destroyed and replaced."""
    lease_s: float = 3600.0
    """How long a machine may be held without `renew`; longer than any one call takes."""
    memory_reserve_mib: int = 1024
    """Memory that the pool leaves free on this host, or under its control group's limit."""
    at_once: int = 4
    """Machines made at the same time: more only compete for the same processors."""
    check_s: float = 30.0
    """How often it looks whether the template is still the right one."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for item in fields(self):
            value, zero_fits = getattr(self, item.name), item.name in _MAY_BE_ZERO
            _check_number(f"pool.{item.name}", value, zero_fits=zero_fits)
        if self.size > self.max_machines:
            raise ConfigError(
                f"pool.size = {self.size} is more than pool.max_machines = {self.max_machines}",
                hint=f"set size to at most {self.max_machines}, or raise max_machines",
            )
        if self.max_machines > _MOST_MACHINES:
            raise ConfigError(
                f"pool.max_machines = {self.max_machines} is more than one process can hold",
                hint=f"set max_machines to at most {_MOST_MACHINES}",
            )

    @property
    def memory_reserve_bytes(self) -> int:
        """The reserve in bytes."""
        return self.memory_reserve_mib * MIB

    def check_memory(self, total_bytes: int | None, clone_bytes: int) -> None:
        """Refuse a pool that this host could never fill.

        Args:
            total_bytes: What this process may use at most; None where that is not known.
            clone_bytes: What one machine in store takes, roughly.

        Raises:
            ConfigError: with the size or reserve that would fit.
        """
        if total_bytes is None:
            return
        room_bytes = total_bytes - self.memory_reserve_bytes
        if room_bytes < clone_bytes:
            most = max(total_bytes - clone_bytes, 0) // MIB
            raise ConfigError(
                f"pool.memory_reserve_mib = {self.memory_reserve_mib} leaves no room for a machine "
                f"in {total_bytes // MIB} MiB",
                hint=f"set memory_reserve_mib to at most {most}",
            )
        fitting = room_bytes // clone_bytes
        if self.size > fitting:
            raise ConfigError(
                f"pool.size = {self.size} needs about {self.size * clone_bytes // MIB} MiB, but "
                f"only {room_bytes // MIB} MiB may be used",
                hint=f"set size to at most {fitting}, or lower memory_reserve_mib",
            )


_MAY_BE_ZERO = frozenset({"size", "memory_reserve_mib"})
_MOST_MACHINES = 4096
"""Every machine holds some ten descriptors and two processes of this one."""


def _check_number(name: str, value: float, *, zero_fits: bool) -> None:
    if not value >= 0 or value == float("inf"):  # also true of nan
        raise ConfigError(f"{name} = {value} is not a usable number", hint="leave it out")
    if value == 0 and not zero_fits:
        raise ConfigError(f"{name} must be more than 0", hint="leave it out for the default")
