"""What runs in the build machine: wheels and tarballs laid out as the image has them."""

import ast
import importlib.util
import json
import os
import py_compile
import sys
import tarfile
from pathlib import Path

import pytest

from indexes import npm_package, tarball, wheel, write, zipped
from luminaguard.image.additions.disk import installer
from luminaguard.image.inside import __main__ as inside
from luminaguard.image.inside.compiled import compile_below
from luminaguard.image.inside.tarballs import link_commands, unpack_tarball
from luminaguard.image.inside.unusable import Unusable
from luminaguard.image.inside.wheels import install_wheel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs in a Linux guest")
PACKAGES = "usr/local/lib/python3.11/dist-packages"


def install(tmp_path: Path, package: tuple[str, bytes]) -> Path:
    out = tmp_path / "out"
    install_wheel(write(tmp_path, package), out, "3.11")
    return out


def test_a_wheels_modules_data_and_commands_come_where_the_guest_looks(tmp_path) -> None:
    files = {
        "pkg/__init__.py": b"",
        "pkg-1.0.data/purelib/extra.py": b"",
        "pkg-1.0.data/scripts/tool": b"#!python\nprint(1)\n",
        "pkg-1.0.data/data/share/pkg/x": b"x",
        "pkg-1.0.data/headers/pkg.h": b"",
    }
    out = install(
        tmp_path, wheel("pkg", files=files, scripts={"run-it": "pkg.cli:main.go [extra]"})
    )
    assert (out / PACKAGES / "pkg/__init__.py").exists()
    assert (out / PACKAGES / "extra.py").exists()
    assert (out / PACKAGES / "pkg-1.0.dist-info/METADATA").exists()
    assert (out / "usr/local/share/pkg/x").read_bytes() == b"x"
    assert (out / "usr/local/include/python3.11/pkg/pkg.h").exists()
    tool, command = out / "usr/local/bin/tool", out / "usr/local/bin/run-it"
    assert tool.read_bytes() == b"#!/usr/bin/python3\nprint(1)\n"
    script = command.read_text()
    assert script.startswith("#!/usr/bin/python3\n")
    assert "from pkg.cli import main\n" in script
    assert "sys.exit(main.go())" in script
    assert os.access(tool, os.X_OK)
    assert os.access(command, os.X_OK)
    ast.parse(script)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\\..\\x", "pkg-1.0.data/odd/x"])
def test_a_wheel_that_names_files_outside_of_it_is_refused(tmp_path, name) -> None:
    with pytest.raises(Unusable):
        install(tmp_path, ("pkg-1.0-py3-none-any.whl", zipped({name: b"x"})))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("entry", ["import os; x", "a:b:c", "a.b", "a:b\n  c", ": main"])
def test_a_command_that_is_no_entry_point_is_refused(tmp_path, entry) -> None:
    with pytest.raises(Unusable):
        install(tmp_path, wheel("pkg", scripts={"run": entry}))


@pytest.mark.parametrize("command", ["../run", ".run", "a b", ""])
def test_a_command_whose_name_is_a_path_is_refused(tmp_path, command) -> None:
    with pytest.raises(Unusable):
        install(tmp_path, wheel("pkg", scripts={command: "a:b"}))


def test_a_damaged_wheel_is_named(tmp_path) -> None:
    name, content = wheel("pkg")
    with pytest.raises(Unusable, match="pkg-1"):
        install(tmp_path, (name, content[:50]))


def test_an_npm_package_is_unpacked_without_its_first_level_and_without_links(tmp_path) -> None:
    link = tarfile.TarInfo("package/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    path = write(
        tmp_path, ("a.tgz", tarball({"package/lib/x.js": b"1", "odd": b"2"}, more=(link,)))
    )
    unpack_tarball(path, tmp_path / "node_modules/a")
    found = sorted(each.name for each in (tmp_path / "node_modules/a").rglob("*"))
    assert found == ["lib", "x.js"]


@pytest.mark.parametrize("name", ["../x", "/x", "package/../../x"])
def test_a_tarball_that_names_files_outside_of_it_is_refused(tmp_path, name) -> None:
    with pytest.raises(Unusable, match="outside"):
        unpack_tarball(write(tmp_path, ("a.tgz", tarball({name: b"1"}))), tmp_path / "a")
    with pytest.raises(Unusable, match="cannot be unpacked"):
        unpack_tarball(write(tmp_path, ("b.tgz", b"no archive")), tmp_path / "b")


def test_commands_are_links_that_can_be_run_and_missing_files_get_none(tmp_path) -> None:
    write(tmp_path, ("x.js", b"#!/usr/bin/env node\n"))
    link_commands([("bin/x", "x.js"), ("bin/y", "gone.js")], tmp_path)
    assert os.readlink(tmp_path / "bin/x") == "../x.js"
    assert os.access(tmp_path / "bin/x", os.X_OK)
    assert not (tmp_path / "bin/y").is_symlink()


def test_byte_code_is_made_but_for_tests_and_what_does_not_compile(tmp_path) -> None:
    for name in ("good", "bad", "tests/test_x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text("def (" if name == "bad" else "x = {'a', 'b'}\n")
    compile_below(tmp_path, str(tmp_path))
    made = {path.name for path in tmp_path.rglob("*.pyc")}
    compiled = Path(importlib.util.cache_from_source(str(tmp_path / "good.py")))
    assert made == {compiled.name}
    flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
    assert flags == 1  # by hash, never checked. Source: PEP 552
    assert py_compile.PycInvalidationMode.UNCHECKED_HASH


def test_the_whole_plan_is_carried_out(tmp_path, monkeypatch) -> None:
    for folder in ("wheels", "npm"):
        (tmp_path / folder).mkdir()
    name, _ = made = wheel("pkg")
    write(tmp_path / "wheels", made)
    write(tmp_path / "npm", ("0.tgz", npm_package("a", {"cli.js": b""})))
    plan = {
        "python": "3.11",
        "wheels": [f"wheels/{name}"],
        "npm": [{"file": "npm/0.tgz", "directory": "usr/local/lib/node_modules/a"}],
        "commands": [["usr/local/bin/a", "usr/local/lib/node_modules/a/cli.js"]],
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    monkeypatch.chdir(tmp_path)
    assert inside.main() == 0
    assert (tmp_path / "out" / PACKAGES / "pkg.py").exists()
    assert (tmp_path / "out/usr/local/bin/a").resolve().name == "cli.js"


def test_a_package_that_cannot_be_installed_is_said_on_standard_error(
    tmp_path, monkeypatch, capsys
) -> None:
    plan = {"python": "3.11", "wheels": ["gone.whl"], "npm": [], "commands": []}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    monkeypatch.chdir(tmp_path)
    assert inside.main() == 1
    assert "gone.whl cannot be unpacked" in capsys.readouterr().err


def test_the_machine_gets_nothing_but_the_standard_library() -> None:
    for name, source in installer():
        for node in ast.walk(ast.parse(source)):
            named = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                named = [node.module or ""]
            for module in named:
                top = module.partition(".")[0]
                own = module.startswith("luminaguard.image.inside.")
                assert top in sys.stdlib_module_names or own, f"{name}: {module}"
