"""Reading a rules file: what it may hold, and what is said of everything else."""

import os
import sys
from pathlib import Path

import pytest

from luminaguard.domain.changeset import ChangeKind
from luminaguard.errors import PolicyError
from luminaguard.policy.rules.files import RuleFiles, complaints, parsed
from luminaguard.policy.rules.read import MAX_BYTES, read_rules
from luminaguard.policy.rules.rule import Action, Rule, Tier
from luminaguard.policy.source import PolicySource


def read(text: str, tier: Tier = Tier.USER) -> tuple[Rule, ...]:
    return read_rules(text.encode(), tier=tier, source="policy.toml")


def test_a_file_with_all_that_there_is_reads_as_it_is_written() -> None:
    (deny, ask, allow) = read(
        """
[[allow]]
name = "fmt"
reason = "ours"
tool = ["shell", "exec"]
command = ["ruff format *", "black ."]
path = "src/**"
kinds = ["modify"]
max_changes = 20
match = ["ruff format src", "cd src && ruff format ."]
not_match = ["ruff format --diff x > y", "rm x"]

[[ask]]
name = "mail"
server = "mail"
arguments = { to = "*@example.org" }
match = [{ tool = "send", server = "mail", arguments = { to = "a@example.org" } }]

[[deny]]
name = "history"
path = ["docs/history/**", "*.lock"]
host = []
match = ["docs/history/a/b.md"]
""".replace("host = []\n", "")
    )
    assert (deny.slug, ask.slug, allow.slug) == ("user:history", "user:mail", "user:fmt")
    assert [rule.action for rule in (deny, ask, allow)] == [Action.DENY, Action.ASK, Action.ALLOW]
    assert allow.bounds.max_changes == 20
    assert allow.bounds.kinds == {ChangeKind.MODIFY}
    assert [pattern.text for pattern in allow.bounds.paths] == ["src/**"]
    assert ask.arguments == {"to": "*@example.org"}


@pytest.mark.parametrize(("text", "says", "hint"), [
    ("[[deny]\n", "not valid TOML", None),
    ("[[dney]]\nname='x'\n", "unknown entry 'dney'", "deny"),
    ("[deny]\nname='x'\n", "must be a list of tables", "[[deny]]"),
    ("[[deny]]\ncommand='x'\n", "no proper name", "name ="),
    ("[[deny]]\nname='A b'\ncommand='x'\n", "no proper name", "small letters"),
    ("[[deny]]\nname='x'\n", "nothing of what it is about", "command"),
    ("[[deny]]\nname='x'\ncomand='y'\n", "unknown key 'comand'", "command"),
    ("[[deny]]\nname='x'\ncommand='y'\nmax_changes=1\n", "unknown key 'max_changes'", None),
    ("[[deny]]\nname='x'\ncommand=''\n", "none of them empty", None),
    ("[[deny]]\nname='x'\ncommand=[]\n", "none of them empty", None),
    ("[[deny]]\nname='x'\ncommand=1\n", "must be text", None),
    ("[[deny]]\nname='x'\ncommand='* push'\n", "begins with the name of a program", None),
    ("[[deny]]\nname='x'\ncommand='git \"x'\n", "No closing quotation", None),
    ("[[deny]]\nname='x'\ncommand='y'\n[[ask]]\nname='x'\ncommand='z'\n", "two rules", None),
    ("[[allow]]\nname='x'\ntool='shell'\nkinds=['modfy']\n", "unknown kind", "modify"),
    ("[[allow]]\nname='x'\ntool='shell'\nmax_changes=true\n", "must be a number", None),
    ("[[deny]]\nname='x'\ntool='t'\narguments={a=1}\n", "argument 'a' must be text", None),
    ("[[deny]]\nname='x'\ncommand='git push'\nmatch=['git pull']\n",
     "does not match its own example 'git pull'", "match"),
    ("[[deny]]\nname='x'\ncommand='git push'\nnot_match=['sudo git push']\n",
     "matches 'sudo git push', which it says it does not", "not_match"),
    ("[[allow]]\nname='x'\ncommand='make'\nmatch=['make -j']\n", "does not match its own", None),
    ("[[deny]]\nname='x'\nserver='m'\nmatch=['hm']\n", "must name the call whole", "tool"),
    ("[[deny]]\nname='x'\ncommand='y'\nmatch=[1]\n", "text or a table", None),
    ("[[deny]]\nname='x'\ncommand='y'\nmatch=[{tol='z'}]\n", "is not a call", None),
])  # fmt: skip
def test_what_is_not_a_rule_is_an_error_that_says_where_and_what_was_meant(
    text: str, says: str, hint: str | None
) -> None:
    with pytest.raises(PolicyError) as raised:
        read(text)
    assert says in str(raised.value)
    assert "policy.toml" in str(raised.value)
    assert hint is None or hint in (raised.value.hint or "")


def test_a_giant_file_is_refused_unread() -> None:
    with pytest.raises(PolicyError, match="larger than"):
        read("#" * (MAX_BYTES + 1))


def test_a_project_s_rule_that_allows_is_set_apart_and_told(tmp_path: Path) -> None:
    text = b"[[allow]]\nname='all'\ntool='*'\n[[deny]]\nname='no'\ncommand='rm'\n"
    file = parsed(Tier.PROJECT, tmp_path / "luminaguard-policy.toml", text)
    assert [rule.name for rule in file.rules] == ["no"]
    assert [rule.name for rule in file.loosening] == ["all"]
    (line,) = complaints((file,))
    assert "'all' would allow" in line


def test_missing_files_mean_no_rules(tmp_path: Path) -> None:
    files = RuleFiles(user=tmp_path / "policy.toml", workspace=tmp_path)
    assert PolicySource(files=files).opened().rulebook.files == ()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permission bits")
@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_user_s_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("")
    path.chmod(mode)
    with pytest.raises(PolicyError, match="others can write"):
        PolicySource(files=RuleFiles(user=path)).opened()


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has neither links nor FIFOs like these"
)
@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_a_project_s_file_that_is_no_plain_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "luminaguard-policy.toml"
    if kind == "link":
        (tmp_path / "other").write_text("")
        path.symlink_to("other")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(PolicyError):
        PolicySource(files=RuleFiles(workspace=tmp_path)).opened()


def test_the_policy_s_version_changes_with_every_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    source = PolicySource(files=RuleFiles(user=path, workspace=tmp_path))
    none = source.current().version
    path.write_text("# mine\n")
    path.chmod(0o600)
    mine = source.current().version
    (tmp_path / "luminaguard-policy.toml").write_text("# mine\n")
    both = source.current().version
    assert len({none, mine, both}) == 3
    path.unlink()
    (tmp_path / "luminaguard-policy.toml").unlink()
    assert source.current().version == none


def test_a_file_is_parsed_once_while_it_stays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("")
    path.chmod(0o600)
    source = PolicySource(files=RuleFiles(user=path))
    assert source.current() is source.current()
