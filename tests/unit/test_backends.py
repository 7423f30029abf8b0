"""Which backend is chosen, and what is said where none may be."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from luminaguard.backends import (
    Backend,
    BackendReport,
    BackendState,
    backend_report,
    candidates,
    choose,
    recommendation,
)
from luminaguard.config import Settings
from luminaguard.domain.isolation import Tier
from luminaguard.errors import ConfigError, HypervisorUnavailable, VmError
from luminaguard.image.image import GuestImage
from luminaguard.testing.hypervisor import FakeHypervisor
from luminaguard.vm.hypervisor import Probe

pytestmark = pytest.mark.anyio

IMAGE = GuestImage(directory=Path("image"), digest="0" * 64)


class Stub(FakeHypervisor):
    """A hypervisor whose probe says what the test wants."""

    def __init__(self, name: str, found: Tier | Exception, directory: Path) -> None:
        super().__init__({}, directory=directory)
        self.label = name
        self.found = found
        self.probes = 0
        self.closed = False

    async def probe(self) -> Probe:
        self.probes += 1
        if isinstance(self.found, Exception):
            raise self.found
        return Probe(tier=self.found, accelerator="stub", version="1")

    def close(self) -> None:
        self.closed = True


class Host:
    """Backends as a test wants them, and what became of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.made: list[Stub] = []

    def backend(
        self,
        name: str,
        *tiers: Tier,
        gives: Tier | Exception | None = None,
        missing: str | None = None,
    ) -> Backend:
        def find() -> object:
            if missing is not None:
                raise HypervisorUnavailable(missing, hint=f"apt-get install {name}")
            return name

        def make(_settings: Settings, _image: GuestImage | None) -> Stub:
            self.made.append(Stub(name, gives or tiers[0], self.directory))
            return self.made[-1]

        return Backend(name=name, tiers=tiers, find=find, make=make)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "templates")


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    def made(*order: str) -> Settings:
        plain = Settings(
            state_dir=tmp_path, cache_dir=tmp_path, config_file=tmp_path / "config.toml"
        )
        return replace(plain, vm=replace(plain.vm, isolation=order))

    return made


def image() -> GuestImage:
    return IMAGE


def qemu(host: Host, gives: Tier = Tier.EMULATED) -> Backend:
    return host.backend("qemu", Tier.HARDWARE, Tier.EMULATED, gives=gives)


@pytest.mark.guarantee("G8")
async def test_nothing_weaker_than_emulation_is_taken_by_itself(
    host: Host, settings: Callable[..., Settings]
) -> None:
    absent = host.backend("qemu", Tier.HARDWARE, Tier.EMULATED, missing="qemu is missing")
    works = host.backend("gvisor", Tier.USERKERNEL)
    with pytest.raises(HypervisorUnavailable, match="qemu is missing") as refused:
        await choose(settings(), image, (absent, works))
    assert refused.value.hint == "apt-get install qemu"
    assert host.made == []


async def test_the_only_backend_left_is_taken_without_a_probe(
    host: Host, settings: Callable[..., Settings]
) -> None:
    absent = host.backend("firecracker", Tier.HARDWARE, missing="no firecracker")
    chosen = await choose(settings(), image, (absent, qemu(host)))
    assert chosen is host.made[0]
    assert host.made[0].probes == 0


@pytest.mark.parametrize(
    ("gives", "expected"), [(Tier.EMULATED, "gvisor"), (Tier.HARDWARE, "qemu")]
)
async def test_an_order_of_tiers_is_followed_by_what_a_probe_shows(
    host: Host, settings: Callable[..., Settings], gives: Tier, expected: str
) -> None:
    backends = (qemu(host, gives), host.backend("gvisor", Tier.USERKERNEL))
    order = settings("hardware", "userkernel", "emulated")
    chosen = await choose(order, image, backends)
    assert isinstance(chosen, Stub)
    assert chosen.label == expected
    assert not chosen.closed
    assert all(other.closed for other in host.made if other is not chosen)


@pytest.mark.guarantee("G8")
async def test_a_named_backend_that_does_not_work_is_not_replaced(
    host: Host, settings: Callable[..., Settings]
) -> None:
    broken = host.backend("gvisor", Tier.USERKERNEL, missing="runsc is missing")
    with pytest.raises(HypervisorUnavailable, match="runsc is missing"):
        await choose(settings("gvisor"), image, (qemu(host), broken))
    assert host.made == []


@pytest.mark.guarantee("G8")
async def test_emulation_is_no_substitute_for_hardware_that_was_asked_for(
    host: Host, settings: Callable[..., Settings]
) -> None:
    with pytest.raises(HypervisorUnavailable, match="gives emulated isolation here"):
        await choose(settings("hardware"), image, (qemu(host),))
    assert all(made.closed for made in host.made)


async def test_an_unknown_name_is_told_with_those_that_there_are(
    host: Host, settings: Callable[..., Settings]
) -> None:
    with pytest.raises(ConfigError, match="'xen'") as refused:
        await choose(settings("xen"), image, (qemu(host),))
    assert "qemu" in str(refused.value.hint)
    assert "userkernel" in str(refused.value.hint)


def test_each_pair_is_tried_once_in_the_order_of_the_names(host: Host) -> None:
    backends = (qemu(host), host.backend("gvisor", Tier.USERKERNEL))
    found = candidates(("gvisor", "qemu", "userkernel", "hardware"), backends)
    assert [(backend.name, tier) for backend, tier in found] == [
        ("gvisor", Tier.USERKERNEL),
        ("qemu", Tier.HARDWARE),
        ("qemu", Tier.EMULATED),
    ]


async def test_a_report_tells_what_works_what_is_missing_and_what_is_broken(
    host: Host, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luminaguard.image.store.ImageStore.current", lambda *_: IMAGE)
    backends = (
        qemu(host),
        host.backend("gvisor", Tier.USERKERNEL, missing="runsc is missing"),
        host.backend("odd", Tier.HARDWARE, gives=VmError("it speaks in tongues")),
    )
    reports = await backend_report(settings(), backends)
    assert [(one.name, one.state, one.tier) for one in reports] == [
        ("qemu", BackendState.WORKS, Tier.EMULATED),
        ("gvisor", BackendState.UNAVAILABLE, None),
        ("odd", BackendState.BROKEN, None),
    ]
    assert reports[1].hint == "apt-get install gvisor"
    assert reports[2].detail == "it speaks in tongues"
    assert all(made.closed for made in host.made)


def report(name: str, tier: Tier | None, hint: str | None = None) -> BackendReport:
    state = BackendState.WORKS if tier else BackendState.UNAVAILABLE
    return BackendReport(name=name, state=state, tier=tier, detail="", hint=hint)


def test_gvisor_is_recommended_only_where_machines_are_emulated() -> None:
    emulated = report("qemu", Tier.EMULATED)
    works = report("gvisor", Tier.USERKERNEL)
    absent = report("gvisor", None, "apt-get install runsc")
    assert "isolation =" in str(recommendation((emulated, works)))
    assert "apt-get install runsc" in str(recommendation((emulated, absent)))
    assert recommendation((report("qemu", Tier.HARDWARE), works)) is None


def test_gvisor_is_recommended_where_nothing_else_works_and_not_where_it_does_not_either() -> None:
    nothing = report("qemu", None, "apt-get install qemu-system-x86")
    assert "only gVisor works here" in str(
        recommendation((nothing, report("gvisor", Tier.USERKERNEL)))
    )
    assert recommendation((nothing, report("gvisor", None, "apt-get install runsc"))) is None


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (PermissionError(13, "Permission denied", "/dev/kvm"), "/dev/kvm"),
        (TimeoutError(), "did not show what it is"),
    ],
)
async def test_one_backends_trouble_does_not_hide_the_others(
    trouble: Exception,
    said: str,
    host: Host,
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("luminaguard.image.store.ImageStore.current", lambda *_: IMAGE)
    half_dead = host.backend("odd", Tier.HARDWARE, gives=trouble)
    reports = await backend_report(settings(), (half_dead, qemu(host)))
    assert [one.state for one in reports] == [BackendState.BROKEN, BackendState.WORKS]
    assert said in reports[0].detail
    assert all(made.closed for made in host.made)
