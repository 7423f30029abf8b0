"""Rules through the real command line and a real machine."""

import json
from pathlib import Path

import pytest

from commandline import CommandLine
from luminaguard.config import load
from luminaguard.image.image import GuestImage
from trees import fingerprint

pytestmark = pytest.mark.vm

RULES = """
[[allow]]
name = "sort"
reason = "the list is generated"
command = "sort -o *"
path = "lists/**"
match = ["sort -o lists/a.txt lists/a.txt"]
"""


@pytest.mark.guarantee("G1")
def test_a_standing_rule_commits_without_a_question_within_its_bounds_only(
    tmp_path: Path, guest_image: GuestImage
) -> None:
    del guest_image  # only that there is one
    workspace = tmp_path / "project"
    (workspace / "lists").mkdir(parents=True)
    (workspace / "lists/a.txt").write_text("b\na\n")
    (workspace / "own.txt").write_text("b\na\n")
    user = CommandLine(home=tmp_path / "home", workspace=workspace, cache=load().cache_dir)
    rules = tmp_path / "home/config/policy.toml"
    rules.parent.mkdir(parents=True)
    rules.write_text(RULES)
    rules.chmod(0o600)

    code, done, err = user.exec(["sort", "-o", "lists/a.txt", "lists/a.txt"])
    assert (code, done["outcome"]) == (0, "committed"), err
    assert (workspace / "lists/a.txt").read_text() == "a\nb\n"
    assert done["decision"]["approver"] == "rule"
    assert "user:sort" in done["decision"]["reason"]
    assert str(rules.name) in done["decision"]["proof"]

    before = fingerprint(workspace)
    code, done, _ = user.exec(["sort", "-o", "own.txt", "own.txt"])
    assert (code, done["outcome"]) == (126, "discarded")
    assert fingerprint(workspace) == before

    tried = json.loads(user.run("policy", "test", str(rules), "--json").stdout)
    assert (tried["calls"], tried["different"], tried["undecidable"]) == (2, 0, 0)
    assert user.audit_verifies()
