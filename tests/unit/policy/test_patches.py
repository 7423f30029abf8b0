"""A patch's files are those that git would change; what could be read in two ways is not read."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.domain.calls import ToolCall
from luminaguard.domain.changeset import Change, ChangeKind, Changeset
from luminaguard.domain.verdict import Lane, Risk, Verdict
from luminaguard.policy.context import CallContext
from luminaguard.policy.patches import MAX_CHARS, MAX_PATHS, Unreadable, read_patch
from luminaguard.policy.policy import Policy
from luminaguard.policy.rules.book import Rulebook
from luminaguard.policy.rules.files import parsed
from luminaguard.policy.rules.rule import Tier
from luminaguard.policy.standing import StandingYes

HUNK = "@@ -1 +1 @@\n-old\n+new\n"
CONTEXT = CallContext(workspace="/w")


def edit(old: str, new: str = "") -> str:
    return f"--- {old}\n+++ {new or old}\n{HUNK}"


def section(path: str) -> str:
    return f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n{HUNK}"


def judge(patch: str, rules: str = "") -> Verdict:
    files = (parsed(Tier.USER, Path("policy.toml"), rules.encode()),) if rules else ()
    call = ToolCall(call_id="c", tool="apply_patch", arguments={"patch": patch})
    return Policy(Rulebook(files=files)).judge(call, CONTEXT)


@pytest.mark.parametrize(
    ("patch", "changes", "risk"),
    [
        (section("src/a.py"), ("src/a.py",), Risk.MEDIUM),
        (section("a.py") + section("b/c d.py"), ("a.py", "b/c d.py"), Risk.MEDIUM),
        (edit("a/x.py", "b/x.py"), ("x.py",), Risk.MEDIUM),
        (edit("x.py"), ("x.py",), Risk.MEDIUM),
        (edit("src/x.py"), ("x.py",), Risk.MEDIUM),
        (edit("/etc/passwd"), ("etc/passwd",), Risk.MEDIUM),
        (edit("a/x\t2026-01-01 00:00:00", "b/x\t2026-01-02 00:00:00"), ("x",), Risk.MEDIUM),
        ("diff --git a/n b/n\nnew file mode 100644\n", ("n",), Risk.MEDIUM),
        (edit("/dev/null", "b/n"), ("n",), Risk.MEDIUM),
        ("diff --git a/o b/o\ndeleted file mode 100644\n", ("o",), Risk.HIGH),
        (edit("a/o", "/dev/null"), ("o",), Risk.HIGH),
        ("diff --git a/s b/s\nold mode 100644\nnew mode 100755\n", ("s",), Risk.MEDIUM),
        ("diff --git a/p/x b/q/y\nrename from p/x\nrename to q/y\n", ("p/x", "q/y"), Risk.HIGH),
        ("diff --git a/p/x b/q/y\ncopy from p/x\ncopy to q/y\n", ("p/x", "q/y"), Risk.MEDIUM),
        ('diff --git "a/\\303\\244" "b/\\303\\244"\nnew file mode 100644\n', ("ä",), Risk.MEDIUM),
        ("A message.\n---\n a | 2 +-\n" + section("a"), ("a",), Risk.MEDIUM),
        (edit("a/q.sql").replace("-old", "--- /etc/passwd"), ("q.sql",), Risk.MEDIUM),
    ],
)  # fmt: skip
def test_a_patch_is_judged_by_the_files_it_names(
    patch: str, changes: tuple[str, ...], risk: Risk
) -> None:
    verdict = judge(patch)
    assert (verdict.lane, set(verdict.changes), verdict.risk) == (Lane.RED, set(changes), risk)
    assert verdict.only_effect_unknown


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize(
    "patch",
    [
        edit("a/../../etc/passwd"),
        edit("a//etc/passwd"),
        edit("a/x", "b/../../x"),
        section("ok") + section("../out"),
        "diff --git a/x b/x\nrename from x\nrename to /root/.bashrc\n",
        "diff --git a/x b/x\ncopy from /etc/shadow\ncopy to x\n",
        "diff --git a/../x b/../x\ndeleted file mode 100644\n",
        'diff --git "a/\\056\\056/x" "b/\\056\\056/x"\nnew file mode 100644\n',
        '--- "a/\\056./x"\n+++ b/y\n' + HUNK,
        "junk\n" * 50 + section("ok") + "diff -u\n" + edit("a/../../x"),
        edit("a/src/.luminaguard/x"),
        edit("a/.LuminaGuard-harvest"),
    ],
)
def test_a_patch_of_what_is_outside_or_reserved_never_runs(patch: str) -> None:
    verdict = judge(patch)
    assert verdict.lane is Lane.FORBIDDEN
    assert set(verdict.rules) <= {"outside-workspace", "reserved-path"}


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("path", [".env", "k/id_rsa", "config/.aws/credentials"])
@pytest.mark.parametrize("form", ["edit", "rename", "mode"])
def test_a_patch_of_a_secret_says_so(path: str, form: str) -> None:
    patch = {
        "edit": section("a") + section(path),
        "rename": f"diff --git a/x b/{path}\nrename from x\nrename to {path}\n",
        "mode": f"diff --git a/{path} b/{path}\nold mode 100644\nnew mode 100755\n",
    }[form]
    assert "touches-secret" in judge(patch).rules
    assert judge(patch, '[[allow]]\nname = "a"\ntool = "apply_patch"\n').allowed_by == ""


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize(
    "patch",
    [
        "",
        "no patch",
        "+++ \n",
        edit("a/x") + "garbage\n",
        edit("a/x") + edit("a/y").replace("--- ", "*** "),
        edit("a/x") + "diff --git a/y b/y\n" + "@@ -x +y @@\n",
        edit("x") + "diff --git a/y b/y\n" + edit("a/y"),
        edit("a/x") + "diff -u x y\n" + edit("x"),
        edit("a/x 2026-01-01 00:00:00 +0000"),
        edit("a/x\r"),
        'diff --git "a/x b/x\n',
        '--- "a/\\377"\n+++ "b/\\377"\n' + HUNK,
        '--- "a/\\q"\n+++ "b/\\q"\n' + HUNK,
        edit("a/x\x01"),
        "".join(section(f"f{n}") for n in range(MAX_PATHS + 1)),
        section("x") + "+x\n" * (MAX_CHARS // 2),
    ],
)
def test_a_patch_that_is_not_certain_is_asked_about_whatever_it_did(patch: str) -> None:
    verdict = judge(patch, '[[allow]]\nname = "a"\ntool = "apply_patch"\n')
    assert (verdict.lane, verdict.rules) == (Lane.RED, ("not-understood",))
    assert not verdict.only_effect_unknown
    assert verdict.allowed_by == ""


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize(
    "patch",
    [
        section("docs/a.md"),
        section("src/a") + section("docs/a.md"),
        "diff --git a/src/x b/docs/x\nrename from src/x\nrename to docs/x\n",
        edit("/dev/null", "b/docs/x"),
        'diff --git "a/do\\143s/x" "b/do\\143s/x"\nnew file mode 100644\n',
        edit("a/src/../docs/x"),
    ],
)
def test_rules_by_path_see_every_file_of_a_patch(patch: str) -> None:
    denied = judge(patch, '[[deny]]\nname = "d"\npath = "docs/**"\n')
    assert (denied.lane, denied.rules) == (Lane.FORBIDDEN, ("user:d",))
    assert judge(patch, '[[allow]]\nname = "a"\npath = "src/**"\n').allowed_by == ""


def test_a_rule_that_allows_a_directory_covers_a_patch_within_it() -> None:
    rules = '[[allow]]\nname = "a"\ntool = "apply_patch"\npath = "src/**"\n'
    policy = Policy(Rulebook(files=(parsed(Tier.USER, Path("policy.toml"), rules.encode()),)))
    patch = section("src/a") + section("src/b/c")
    call = ToolCall(call_id="c", tool="apply_patch", arguments={"patch": patch})
    verdict = policy.judge(call, CONTEXT)
    assert verdict.allowed_by == "user:a"

    def effect(path: str) -> Changeset:
        change = Change(path=path, kind=ChangeKind.MODIFY, before=None, after=None)
        return Changeset(base="0" * 64, changes=(change,))

    assert isinstance(policy.standing(verdict, effect("src/a")), StandingYes)
    assert not isinstance(policy.standing(verdict, effect("other")), StandingYes)


def test_many_files_are_one_reason_and_all_stand_in_the_verdict() -> None:
    verdict = judge("".join(section(f"f{n}") for n in range(50)))
    assert len(verdict.changes) == 50
    assert verdict.reasons == ("'f0', 'f1', 'f2' and 47 more are edited",)


LINES = st.sampled_from([
    "diff --git a/p b/p", "diff --git a/p/q b/p/q", "diff --git p p", "diff --git a/r b/s",
    'diff --git "a/\\164" "b/\\164"', 'diff --git a/p b/q b/p b/q', "diff -u a b", "diff ",
    "--- a/p", "+++ b/p", "--- a/u", "+++ b/u", "--- v", "+++ v", "--- /dev/null", "+++ /dev/null",
    '--- "a/w"', '+++ "b/w"', "--- a/p\t2026-01-01", "--- a/x y", "+++ b/x y", "--- ", "--- a/",
    "rename from p", "rename to z", "copy from p", "copy to zz", "new file mode 100644",
    "deleted file mode 100644", "old mode 100644", "new mode 100755", "similarity index 100%",
    "index 1234567..89abcde 100644", "@@ -1 +1 @@", "@@ -1,2 +1,2 @@ f()", "@@ -x", "@@ ", "@@",
    "@@ -0,0 +1 @@", "-old", "+new", " same", "", "\\ No newline at end of file", "junk", "d", "@",
    "GIT binary patch", "-- ", "2.39.5", "--- a/../x", "+++ b//etc/x",
])  # fmt: skip
SECTIONS = st.sampled_from([section("p"), edit("a/p", "b/p"), edit("v"), edit("c/d"), HUNK])
TEXTS = st.lists(st.one_of(LINES.map("{}\n".format), SECTIONS), max_size=12).map("".join)


@pytest.mark.guarantee("G5")
@pytest.mark.skipif(shutil.which("git") is None, reason="git is the referee")
@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_every_file_that_git_would_change_is_read(text: str) -> None:
    try:
        read = set(read_patch(text).paths)
    except Unreadable:
        return
    done = subprocess.run(
        ["git", "apply", "--recount", "--whitespace=nowarn", "--numstat", "-z", "-"],
        input=text.encode(),
        capture_output=True,
        cwd="/",
        check=False,
    )
    if done.returncode == 0:
        named = {row.split("\t", 2)[2] for row in done.stdout.decode().split("\0") if row}
        assert named <= read, text
