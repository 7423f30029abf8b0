"""What a requirement file may say, and what is refused because it would run code."""

from pathlib import Path

import pytest

from luminaguard.errors import ImageError
from luminaguard.image.additions.requirements import read_requirements

SHA = "a" * 64


def read(tmp_path: Path, text: str, **more: str):
    for name, content in more.items():
        (tmp_path / f"{name}.txt").write_text(content)
    file = tmp_path / "requirements.txt"
    file.write_text(text)
    return read_requirements((file,))


def test_names_versions_extras_markers_and_hashes_are_taken(tmp_path) -> None:
    found = read(
        tmp_path,
        "# tests\n"
        "Flask >= 3.0, < 4  # web\n"
        "requests[socks,  security] == 2.31.0 ; python_version >= '3.8'\n"
        f"six==1.16.0 \\\n    --hash=sha256:{SHA} \\\n    --hash=sha256:{'b' * 64}\n"
        "numpy\r\n\n--require-hashes\n--only-binary :all:\n",
    )
    assert found.lines == (
        "Flask>=3.0,<4",
        "numpy",
        "requests[socks,security]==2.31.0 ; python_version >= '3.8'",
        f"six==1.16.0 --hash=sha256:{SHA} --hash=sha256:{'b' * 64}",
    )
    assert found.names == ("Flask", "numpy", "requests", "six")


def test_included_files_are_read_beside_the_file_that_names_them(tmp_path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/more.txt").write_text("-r deep.txt\nb\n")
    (tmp_path / "sub/deep.txt").write_text("-r ../requirements.txt\nc\n")  # a circle
    found = read(tmp_path, "a\n-r sub/more.txt\n-c limits.txt\n", limits="d<2\n")
    assert found.lines == ("a", "b", "c")
    assert found.constraints == ("d<2",)


def test_what_a_constraint_file_includes_are_constraints_too(tmp_path) -> None:
    found = read(tmp_path, "a\n--constraint=limits.txt\n", limits="-r more.txt\n", more="b==1\n")
    assert found.lines == ("a",)
    assert found.constraints == ("b==1",)


@pytest.mark.parametrize(
    "line",
    [
        "-e .", "--editable ./x", ".", "./local", "../x", "/abs/path", "git+https://h/x.git",
        "x @ https://h/x-1.0.tar.gz", "x@git+ssh://h/x", "https://h/x.whl", "file:///x",
        "./x-1.0-py3-none-any.whl", "x @ file:///x",
    ],
)  # fmt: skip
def test_what_would_have_to_be_built_here_is_refused(tmp_path, line) -> None:
    with pytest.raises(ImageError, match=r"requirements\.txt:2: .* running its code") as caught:
        read(tmp_path, f"ok\n{line}\n")
    assert "wheel" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "line",
    [
        "-i https://u:secret@h/simple", "--index-url=https://h", "--extra-index-url https://h",
        "-f https://h", "--find-links=./w", "--trusted-host h", "--no-index",
    ],
)  # fmt: skip
def test_a_file_may_not_choose_where_packages_come_from(tmp_path, line) -> None:
    with pytest.raises(ImageError, match="may not say where packages come from") as caught:
        read(tmp_path, f"a\n{line}\n")
    assert "secret" not in str(caught.value)
    assert "pip config set" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "line",
    [
        "a b", "${SECRET}", "a==1 --global-option=x", "a; os.system('x')", "--config-settings x",
        "a==1;;", "=1", "a[", "a\x00b", "é", "a --hash=md5:00", "a --hash=sha256:00",
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_named_with_its_number(tmp_path, line) -> None:
    with pytest.raises(ImageError, match=r"requirements\.txt:1: "):
        read(tmp_path, f"{line}\n")


def test_files_that_are_no_requirement_files_are_refused(tmp_path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        read_requirements((tmp_path / "missing.txt",))
    with pytest.raises(ImageError, match="no regular file"):
        read_requirements((tmp_path,))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ImageError, match="not UTF-8"):
        read_requirements((tmp_path / "binary.txt",))
    (tmp_path / "huge.txt").write_bytes(b"a\n" * (1 << 20))
    with pytest.raises(ImageError, match="larger than"):
        read_requirements((tmp_path / "huge.txt",))
    with pytest.raises(ImageError, match="names no requirement"):
        read(tmp_path, "# nothing\n")


def test_a_pyproject_gives_its_dependencies_extras_and_groups(tmp_path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[project]\nname = "My.Pkg"\ndependencies = ["a>=1"]\n'
        '[project.optional-dependencies]\ntest = ["b", "my-pkg[docs]"]\ndocs = ["c"]\n'
        '[dependency-groups]\ndev = ["d", {include-group = "more"}]\nmore = ["e"]\n'
    )
    assert read_requirements((file,)).lines == ("a>=1", "b", "c", "d", "e")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[project\n", "not valid TOML"),
        ('[project]\ndependencies = "a"\n', "not a list"),
        ("project = 1\n", "specification"),
        ('[project]\ndependencies = ["a @ file:///x"]\n', "running its code"),
    ],
)
def test_a_pyproject_that_cannot_be_taken_is_refused(tmp_path, text, message) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(text)
    with pytest.raises(ImageError, match=message):
        read_requirements((file,))
