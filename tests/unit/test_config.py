"""Settings come from the right place, and mistakes in them are named."""

from pathlib import Path

import pytest

from luminaguard.config import VmSettings, load
from luminaguard.domain.isolation import GuestHardening
from luminaguard.errors import ConfigError
from luminaguard.vm.hardening import profile_named


def environment(tmp_path: Path, text: str = "", **more: str) -> dict[str, str]:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return {"HOME": str(tmp_path), "LUMINAGUARD_CONFIG": str(file), **more}


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    settings = load({"HOME": str(tmp_path)})
    assert settings.approval.timeout_s == 300.0
    assert settings.policy.no_effect is True
    assert not settings.approval.allow_unattended
    assert settings.origins == {}


def test_directories_can_be_moved_by_the_environment(tmp_path: Path) -> None:
    environ = environment(tmp_path, LUMINAGUARD_STATE_DIR="/s", LUMINAGUARD_CACHE_DIR="/c")
    settings = load(environ)
    assert (settings.state_dir, settings.cache_dir) == (Path("/s"), Path("/c"))
    assert Path("/s") in settings.own_dirs
    assert tmp_path in settings.own_dirs


def test_a_relative_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not an absolute path"):
        load(environment(tmp_path, LUMINAGUARD_STATE_DIR="state"))


def test_values_of_the_file_win_over_defaults_and_say_where_they_are_from(tmp_path: Path) -> None:
    text = '[approval]\ntimeout_s = 5\n[workspace]\ninclude = ["*.env"]\n'
    settings = load(environment(tmp_path, text))
    assert settings.approval.timeout_s == 5.0
    assert settings.workspace.include == ("*.env",)
    assert settings.origins["approval.timeout_s"] == str(tmp_path / "config.toml")


def test_how_guests_are_hardened_is_chosen_by_name(tmp_path: Path) -> None:
    assert (load({"HOME": str(tmp_path)}).vm.profile, VmSettings().lsm) == ("strict", "apparmor")
    vm = load(environment(tmp_path, '[vm]\nprofile = "relaxed"\nlsm = "selinux"\n')).vm
    chosen = profile_named(vm.profile, lsm=vm.lsm)
    assert chosen.stamp == GuestHardening(profile="relaxed", lsm="selinux")


def test_the_nearest_directory_above_a_project_names_its_image(tmp_path: Path) -> None:
    text = (
        '[vm]\nimage = "plain"\n[projects."/src"]\nimage = "all"\n'
        '[projects."/src/web"]\nimage = "web"\n[projects."~/own"]\nimage = "own"\n'
        '[projects."/src/web/silent"]\n'
    )
    settings = load(environment(tmp_path, text))
    assert settings.image_for(Path("/src/web")) == "web"
    assert settings.image_for(Path("/src/web/deep/er")) == "web"
    assert settings.image_for(Path("/src/web/silent")) == "web"
    assert settings.image_for(Path("/src/website")) == "all"
    assert settings.image_for(tmp_path / "own") == "own"
    assert settings.image_for(Path("/elsewhere")) == "plain"


def test_a_project_is_found_by_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    settings = load(environment(tmp_path, f'[projects."{tmp_path}/link"]\nimage = "web"\n'))
    assert settings.image_for((tmp_path / "real").resolve()) == "web"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[aproval]\n", "unknown section", "did you mean approval?"),
        (
            '[projects."a"]\n',
            "'a' is not the absolute path",
            'write [projects."/path/to/project"], or "~/..."',
        ),
        ("projects = 1\n", "must be a table", 'write [projects."/path"]'),
        ('[projects]\n"/a" = 1\n', "must be a table", 'write [projects."/a"]'),
        ('[projects."/a"]\nimgae = "x"\n', "unknown key", "did you mean image?"),
        ('[projects."/a"]\nimage = 1\n', "must be a string", None),
        ("[vm]\nmemory_mb = 1\n", "unknown key", "did you mean memory_mib?"),
        ("[vm]\nmemory_mib = 'big'\n", "a number, not below 0", None),
        ("[vm]\nmemory_mib = true\n", "a number, not below 0", None),
        ("[vm]\nmemory_mib = -1\n", "a number, not below 0", None),
        ("[vm]\nmemory_mib = 0\n", "between 192 and 65536", "without it, memory_mib is 512"),
        (
            "[pool]\nsize = 9\nmax_machines = 3\n",
            "pool.size = 9 is more",
            "set size to at most 3, or raise max_machines",
        ),
        ("[vm]\nmemory_mib = 64\n", "between 192 and 65536", "without it, memory_mib is 512"),
        (
            "[vm]\nmemory_mib = 1000000000\n",
            "between 192 and 65536",
            "without it, memory_mib is 512",
        ),
        (
            "[approval]\ntimeout_s = 1e9\n",
            "between 1 and 604800",
            "without it, timeout_s is 300.0",
        ),
        ("[vm]\nimage = 3\n", "must be a string", None),
        ("[vm]\nprofile = 3\n", "must be a string", None),
        ("[policy]\nno_effect = 1\n", "true or false", None),
        ("[workspace]\ninclude = [1]\n", "list of strings", None),
        ("vm = 3\n", "must be a table", "write [vm]"),
        ("[vm\n", "not valid TOML", None),
    ],
)
def test_a_mistake_in_the_file_is_named(
    tmp_path: Path, text: str, message: str, hint: str | None
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(environment(tmp_path, text))
    assert caught.value.hint == hint
