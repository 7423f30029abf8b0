"""An image with a project's own packages: fetched from an index of this test, used in a machine."""

import json
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from anyio import to_thread

from guestimage import ready_image
from indexes import Index, integrity, npm_package, served, wheel
from luminaguard.config import load
from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.errors import ImageError
from luminaguard.image.additions.gather import Wanted
from luminaguard.image.additions.npmlock import NpmPackage, parse_lock
from luminaguard.image.additions.requirements import Requirements
from luminaguard.image.build import build, host_architecture
from luminaguard.image.image import GuestImage
from luminaguard.image.manifest import PackageKind
from luminaguard.image.recipe import load_recipe
from luminaguard.image.store import ImageStore
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.disks import scratch_disk
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.spec import VmSpec
from luminaguard.vm.workbench import MachineWorkbench
from vm_fixtures import imaged

pytestmark = [pytest.mark.vm, pytest.mark.anyio, pytest.mark.timeout(400)]

CLI = b"import sys\n\ndef main():\n    print('tiny says', *sys.argv[1:])\n"
CJS = {"index.js": b"module.exports = 41 + 1;\n", "cli.js": b"#!/usr/bin/env node\n"}
ESM = {
    "package.json": b'{"name": "tiny-esm", "type": "module", "exports": "./m.js"}',
    "m.js": b"import n from 'tiny-cjs'; export const answer = n;\n",
}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache directory with the packages that this host has fetched, and nothing else."""
    ready_image()  # so that there are some
    for part in ("apt", "packages"):
        shutil.copytree(load().cache_dir / part, tmp_path / "cache" / part, copy_function=os.link)
    return tmp_path / "cache"


def publish(index: Index) -> Wanted:
    """Put small packages on an index and say what is wanted of them."""
    index.add(wheel("tinydep"))
    files = {"tinycli.py": CLI, "tinydata.py": b"from tinydep import VALUE\n"}
    made = wheel("tinycli", files=files, requires=("tinydep",), scripts={"tiny": "tinycli:main"})
    index.add(made)
    tarballs = {
        "tiny-cjs": npm_package("tiny-cjs", CJS),
        "tiny-esm": npm_package("tiny-esm", ESM),
        "npm": npm_package("npm", {"bin/npm-cli.js": b"#!/usr/bin/env node\nconsole.log('npm')\n"}),
    }
    for name, content in tarballs.items():
        index.files[f"/{name}/-/{name}-1.0.0.tgz"] = content
    packages: dict[str, object] = {
        f"node_modules/{name}": {"version": "1.0.0", "integrity": integrity(content)}
        for name, content in tarballs.items()
    }
    lock = parse_lock({"lockfileVersion": 3, "packages": packages}, "lock", host_architecture())
    tool = next(each for each in lock.packages if each.name == "npm")
    return Wanted(
        requirements=Requirements(lines=("tinycli>=1",)),
        npm=lock,
        npm_itself=NpmPackage(
            path=tool.path,
            name=tool.name,
            version=tool.version,
            sha512=tool.sha512,
            bins=(("npm", "bin/npm-cli.js"),),
        ),
    )


def built(
    cache: Path, wanted: Wanted, qemu: QemuHypervisor, *, rebuild: bool = False
) -> GuestImage:
    recipe = load_recipe("extra", needed=wanted.debian_packages)
    workbench = MachineWorkbench(qemu, cache)
    try:
        return build(
            ImageStore(cache),
            recipe,
            lambda _stage, _done: None,
            wanted=wanted,
            workbench=workbench,
            rebuild=rebuild,
        )
    except ImageError as error:
        if "cannot be fetched" in str(error) or "cannot be chosen" in str(error):
            pytest.skip(f"this host's package mirror gives no nodejs: {error}")
        raise


async def ran(
    qemu: QemuHypervisor, image: GuestImage, tree: Path, cache: Path, programs: Sequence[str]
) -> list[GuestReport]:
    """Run shell commands in one machine of the image, over a workspace with this tree."""
    disk = imaged(tree, cache / "workspace.img", "squashfs")
    scratch = scratch_disk(cache, 64 << 20)
    try:
        async with await qemu.boot(VmSpec(image=image)) as machine:
            await machine.attach(workspace_fd=disk, scratch_fd=scratch)
            await machine.reseed(secrets.token_bytes(64), time.time_ns())
            await machine.mount(GuestMount(path="/srv/project", filesystem="squashfs"))
            return [
                await machine.execute(
                    Execution(argv=("sh", "-c", program), cwd="/srv/project", timeout_s=60)
                )
                for program in programs
            ]
    finally:
        os.close(disk)
        os.close(scratch)


async def test_added_python_and_npm_packages_work_in_a_machine(
    qemu: QemuHypervisor, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served() as index:
        for name, value in index.pip_environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("npm_config_registry", index.address)
        image = await to_thread.run_sync(lambda: built(cache, publish(index), qemu))
    manifest = ImageStore(cache).manifest(image)
    added = {each.name: each.kind for each in manifest.packages if each.kind is not PackageKind.DEB}
    assert added == {
        "tinycli": PackageKind.WHEEL, "tinydep": PackageKind.WHEEL, "npm": PackageKind.NPM,
        "tiny-cjs": PackageKind.NPM, "tiny-esm": PackageKind.NPM,
        "python3-pip-whl": PackageKind.TOOL,
    }  # fmt: skip
    assert manifest.contents.distributions["tinycli"] == "1.0"
    assert set(manifest.contents.node_modules) >= {"tiny-cjs", "tiny-esm"}
    assert index.address.rpartition("/")[2].encode() not in image.manifest.read_bytes()
    tree = tmp_path / "project"
    tree.mkdir()
    (tree / "x.mjs").write_text("import { answer } from 'tiny-esm'; console.log(answer);\n")
    (tree / "x.cjs").write_text("console.log(require('tiny-cjs'));\n")
    programs = {
        "python3 -c 'import tinydata; print(tinydata.VALUE)'": b"1\n",
        "tiny hello": b"tiny says hello\n",
        "node x.mjs && node x.cjs": b"42\n42\n",
        "npm": b"npm\n",
        "ls /usr/local/lib/python3.*/dist-packages/__pycache__ | grep -c tinycli": b"1\n",
        "touch /usr/local/bin/x 2>/dev/null || echo read-only": b"read-only\n",
    }
    reports = await ran(qemu, image, tree, cache, list(programs))
    said = {program: each.stdout for program, each in zip(programs, reports, strict=True)}
    assert said == programs, [each.stderr for each in reports]


@pytest.mark.long
async def test_the_same_image_comes_out_again_without_any_index(
    qemu: QemuHypervisor, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served() as index:
        for name, value in index.pip_environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("npm_config_registry", index.address)
        wanted = publish(index)
        first = await to_thread.run_sync(lambda: built(cache, wanted, qemu))
    again = await to_thread.run_sync(lambda: built(cache, wanted, qemu, rebuild=True))
    assert again.digest == first.digest
    manifest = json.loads(again.manifest.read_bytes())
    assert manifest["format"] == 2
