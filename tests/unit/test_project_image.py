"""A session's machines boot the image that the user's configuration names for its project."""

from dataclasses import replace
from pathlib import Path

import pytest

from luminaguard.config import ProjectSettings
from luminaguard.domain.outcome import Outcome, OutcomeKind
from luminaguard.image.build import host_architecture
from luminaguard.image.image import GuestImage
from luminaguard.image.manifest import KernelRecord, Manifest
from luminaguard.image.store import ImageStore
from luminaguard.runtime import Session
from luminaguard.testing.hypervisor import FakeHypervisor, exited
from world import World

pytestmark = pytest.mark.anyio


def publish(cache: Path, name: str) -> GuestImage:
    manifest = Manifest(
        name=name,
        recipe_version=1,
        inputs=name,
        distribution="debian",
        architecture=host_architecture(),
        kernel=KernelRecord(version="6.1", modules=(), builtin=()),
        packages=(),
        artifacts={},
    )
    store = ImageStore(cache)
    with store.workshop(name) as place:
        (place / "out").mkdir()
        return store.publish(name, place / "out", manifest)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(root=tmp_path, workspace=tmp_path / "project/part")
    world.workspace.mkdir(parents=True)
    world.hypervisor = FakeHypervisor({"true": lambda _guest, _execution: exited(0)})
    return world


async def run(world: World, projects: dict[str, ProjectSettings]) -> Outcome:
    settings = replace(world.settings(), projects=projects)
    hypervisor = world.hypervisor
    session = Session(world.workspace, approver="deny", settings=settings, hypervisor=hypervisor)
    async with session:
        return await session.exec(["true"])


async def booted(world: World, projects: dict[str, ProjectSettings]) -> GuestImage:
    await run(world, projects)
    return world.hypervisor.machines[-1].spec.image


async def test_a_projects_image_is_booted_and_others_get_the_default(world: World) -> None:
    cache = world.settings().cache_dir
    plain, web = publish(cache, "default"), publish(cache, "web")
    project = str(world.workspace.parent)
    assert await booted(world, {project: ProjectSettings(image="web")}) == web
    assert await booted(world, {f"{project}x": ProjectSettings(image="web")}) == plain


async def test_nothing_in_the_workspace_chooses_its_image(world: World) -> None:
    cache = world.settings().cache_dir
    plain, _ = publish(cache, "default"), publish(cache, "web")
    text = f'[vm]\nimage = "web"\n[projects."{world.workspace}"]\nimage = "web"\n'
    for name in ("config.toml", "luminaguard.toml", ".luminaguard.toml", "pyproject.toml"):
        (world.workspace / name).write_text(text)
    assert await booted(world, {}) == plain


async def test_a_project_whose_image_is_missing_is_told_how_to_build_it(world: World) -> None:
    publish(world.settings().cache_dir, "default")
    outcome = await run(world, {str(world.workspace): ProjectSettings(image="web")})
    assert outcome.kind is OutcomeKind.FAILED
    assert "there is no guest image 'web' yet" in outcome.error
    assert "luminaguard image build web" in outcome.error
    assert world.hypervisor.machines == []
