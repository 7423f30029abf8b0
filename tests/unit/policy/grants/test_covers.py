"""What a grant covers, and everything near it that it does not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminaguard.domain.calls import JsonValue, ToolCall
from luminaguard.domain.changeset import Change, ChangeKind, Changeset, Entry, EntryType, Mark
from luminaguard.domain.grant import GrantScope
from luminaguard.domain.verdict import Lane, Risk
from luminaguard.policy.context import CallContext
from luminaguard.policy.grants.covers import Question, uncovered
from luminaguard.policy.grants.grant import Grant, grant_from
from luminaguard.policy.grants.offers import LEAST_CHANGES, Offer, Offering
from luminaguard.policy.policy import Policy
from luminaguard.policy.rules.facts import facts_of

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
CONTEXT = CallContext(workspace="/w")
POLICY = Policy()
FILES = {
    "src/a.py": "a" * 64, "src/b.py": "b" * 64, "other/c.py": "c" * 64, "build.sh": "d" * 64,
    "scripts/x.sh": "e" * 64, "Makefile": "f" * 64,
}  # fmt: skip


def shell(command: str) -> ToolCall:
    return ToolCall(call_id="c", tool="shell", arguments={"command": command})


def change(path: str, kind: ChangeKind = ChangeKind.MODIFY, *marks: str) -> Change:
    after = Entry(type=EntryType.FILE, mode=0o644, size=1, sha256="9" * 64)
    return Change(
        path=path,
        kind=kind,
        before=None,
        after=None if kind is ChangeKind.DELETE else after,
        marks=tuple(Mark(name=name, why="") for name in marks),
    )


def effect(*paths: str) -> Changeset:
    return Changeset(base="0" * 64, changes=tuple(map(change, paths)))


def question(call: ToolCall, changeset: Changeset, **more: object) -> Question:
    known = Question(
        facts=facts_of(call, CONTEXT),
        verdict=POLICY.judge(call, CONTEXT),
        changeset=changeset,
        workspace="1:2 /w",
        session_id="s",
        policy_version="v",
        digest_of=FILES.get,
        now=NOW,
    )
    return replace(known, **more)  # type: ignore[arg-type]


def offers(call: ToolCall, changeset: Changeset) -> dict[GrantScope, Offer]:
    made = Offering(now=lambda: NOW).offers(question(call, changeset))
    return {offer.shown.scope: offer for offer in made}


def granted(call: ToolCall, changeset: Changeset, scope: GrantScope = GrantScope.PATTERN) -> Grant:
    return offers(call, changeset)[scope].taken(given_by="tty", request="r", at=NOW)


RUN = granted(shell("frob --fix src/a.py"), effect("src/a.py"))


@pytest.mark.parametrize("command", [
    "frob --fix src/a.py", "frob --fix src/b.py", "frob --fix src/a.py src/b.py",
    "ls && frob --fix src/b.py", "frob --fix ./src/b.py", "frob --fix /w/src/b.py",
])  # fmt: skip
def test_calls_like_the_granted_one_are_covered(command: str) -> None:
    assert uncovered(RUN, question(shell(command), effect("src/b.py"))) == ""


@pytest.mark.parametrize("command", [
    "frob src/a.py", "frob --fix --fix src/a.py", "frob --all src/a.py", "frob --fix other/c.py",
    "frob --fix src/../other/c.py", "frob --fix /etc/passwd", "frob --fix", "frob --fix '*'",
    "frob --fix src/a.py; rm src/a.py", "frob --fix src/a.py | sh", "sudo frob --fix src/a.py",
    "A=1 frob --fix src/a.py", "frob --fix src/a.py > src/b.py", "frob --fix $X", "frob --fix *",
    "./frob --fix src/a.py", "frob --fix src/a.py --exec=x", "frob --fix -- src/a.py",
    "cd other; frob --fix src/a.py", "echo src/a.py | xargs frob --fix",
])  # fmt: skip
def test_no_other_call_is(command: str) -> None:
    assert uncovered(RUN, question(shell(command), effect("src/a.py")))


@pytest.mark.parametrize("changeset", [
    effect("other/c.py"), effect("src/a.py", "other/c.py"), effect("README"),
    effect(*(f"src/{n}.py" for n in range(LEAST_CHANGES + 1))),
    Changeset(base="0" * 64, changes=(change("src/a.py", ChangeKind.DELETE),)),
    Changeset(base="0" * 64, changes=(change("src/a.py", ChangeKind.CHMOD),)),
    Changeset(base="0" * 64, changes=(change("src/a.py", ChangeKind.MODIFY, "runs-later"),)),
    Changeset(base="0" * 64, changes=(change("src/a.py", ChangeKind.MODIFY, "link-outside"),)),
    Changeset(base="0" * 64, changes=(), dropped=("src/socket",)),
])  # fmt: skip
def test_no_other_effect_is_covered(changeset: Changeset) -> None:
    assert uncovered(RUN, question(shell("frob --fix src/a.py"), changeset))


def test_another_place_time_or_session_is_not_covered() -> None:
    call, changed = shell("frob --fix src/a.py"), effect("src/a.py")
    assert not uncovered(RUN, question(call, changed))
    assert uncovered(RUN, question(call, changed, workspace="1:3 /w"))
    assert uncovered(RUN, question(call, changed, now=RUN.expires_at))
    assert uncovered(RUN, question(call, changed, now=NOW - timedelta(seconds=1)))
    assert uncovered(replace(RUN, uses=RUN.max_uses), question(call, changed))
    session = replace(RUN, scope=GrantScope.SESSION)
    assert not uncovered(session, question(call, changed))
    assert uncovered(session, question(call, changed, session_id="t"))


@pytest.mark.guarantee("G5")
def test_no_grant_counts_for_what_is_critical_secret_tainted_or_asked_for() -> None:
    call, changed = shell("frob --fix src/a.py"), effect("src/a.py")
    verdict = POLICY.judge(call, CONTEXT)
    for other in (
        replace(verdict, risk=Risk.CRITICAL),
        replace(verdict, rules=("tainted-session",)),
        replace(verdict, rules=("hidden-characters",)),
        replace(verdict, secrets=("x",)),
        replace(verdict, lane=Lane.FORBIDDEN),
        replace(verdict, rules=("project:look", *verdict.rules)),
    ):
        assert uncovered(RUN, question(call, changed, verdict=other)), other


def test_a_grant_for_exactly_this_covers_this_call_with_this_effect_only() -> None:
    call, changed = shell("frob --fix src/a.py"), effect("src/a.py")
    exact = granted(call, changed, GrantScope.EXACT)
    moved = replace(changed, base="1" * 64)
    assert not uncovered(exact, question(call, moved)), "where it begins does not matter"
    assert uncovered(exact, question(shell("frob --fix  src/a.py"), changed))
    other = replace(changed.changes[0], after=None)
    assert uncovered(exact, question(call, replace(changed, changes=(other,))))


@pytest.mark.parametrize(("command", "file"), [
    ("./scripts/x.sh now", "scripts/x.sh"), ("bash scripts/x.sh", "scripts/x.sh"),
    ("cd scripts && ./x.sh", "scripts/x.sh"), ("python3 -u src/a.py", "src/a.py"),
    ("make all", "Makefile"), ("bash -c 'make all'", "Makefile"),
    (". scripts/x.sh", "scripts/x.sh"),
    ("timeout 5 ./scripts/x.sh", "scripts/x.sh"), ("source ./scripts/x.sh", "scripts/x.sh"),
    ("env -i sh -x scripts/x.sh", "scripts/x.sh"),
])  # fmt: skip
@pytest.mark.parametrize("scope", [GrantScope.PATTERN, GrantScope.EXACT])
def test_a_grant_is_bound_to_what_is_in_the_files_that_it_runs(
    command: str, file: str, scope: GrantScope
) -> None:
    call, changed = shell(command), effect("other/c.py")
    grant = granted(call, changed, scope)
    assert grant.terms.files == {file: FILES[file]}
    assert not uncovered(grant, question(call, changed))
    for digest in ("0" * 64, None):
        files = {**FILES, file: digest}
        assert uncovered(grant, question(call, changed, digest_of=files.get))
    assert uncovered(grant, question(call, effect(file, "other/c.py")))


def test_a_file_of_commands_that_appears_later_is_not_covered() -> None:
    without = {path: digest for path, digest in FILES.items() if path != "Makefile"}
    made = Offering(now=lambda: NOW).offers(
        question(shell("make all"), effect("other/c.py"), digest_of=without.get)
    )
    grant = made[-1].taken(given_by="tty", request="r", at=NOW)
    assert not uncovered(
        grant, question(shell("make all"), effect("other/c.py"), digest_of=without.get)
    )
    assert uncovered(grant, question(shell("make all"), effect("other/c.py")))


@pytest.mark.parametrize("command", [
    "/tmp/x.sh", "./missing.sh", "frob $(cat x)", "frob < x", "frob 'x", "A=1 frob",
])  # fmt: skip
def test_only_this_very_call_is_offered_where_likeness_is_not_certain(command: str) -> None:
    assert GrantScope.PATTERN not in offers(shell(command), effect("src/a.py"))


@pytest.mark.parametrize("command", ["git push", "cat .env", "frob \u202e", "ls"])
def test_nothing_is_offered_where_nothing_may_be_remembered(command: str) -> None:
    assert offers(shell(command), effect("src/a.py")) == {}


def test_tools_that_write_files_are_granted_by_directory() -> None:
    def writing(path: str) -> ToolCall:
        arguments: dict[str, JsonValue] = {"path": path, "content": "x"}
        return ToolCall(call_id="c", tool="write_file", arguments=arguments)

    grant = granted(writing("src/a.py"), effect("src/a.py"))
    assert not uncovered(grant, question(writing("src/b.py"), effect("src/b.py")))
    assert uncovered(grant, question(writing("other/c.py"), effect("src/b.py")))
    assert uncovered(grant, question(writing("src/b.py"), effect("other/c.py")))
    deleting = ToolCall(call_id="c", tool="delete_file", arguments={"path": "src/a.py"})
    assert uncovered(grant, question(deleting, effect("src/a.py")))


def test_at_the_root_only_the_very_file_is_granted() -> None:
    files = {**FILES, "README": "1" * 64, "LICENSE": "2" * 64}
    call = shell("frob README")
    made = Offering(now=lambda: NOW).offers(question(call, effect("README"), digest_of=files.get))
    grant = made[-1].taken(given_by="tty", request="r", at=NOW)
    assert not uncovered(grant, question(call, effect("README"), digest_of=files.get))
    assert uncovered(grant, question(call, effect("LICENSE"), digest_of=files.get))


def test_a_preview_shows_real_calls_first_and_never_the_call_itself() -> None:
    call = shell("frob --fix src/a.py")
    recent = [call, shell("frob --fix src/b.py"), shell("rm -rf src")]
    made = Offering(now=lambda: NOW).offers(question(call, effect("src/a.py")), recent)
    also = made[-1].shown.also
    assert also[0] == "frob --fix src/b.py"
    assert "frob --fix src/a.py" not in also
    assert not any("rm" in text for text in also)
    assert "src/**" in made[-1].shown.covers
    assert "8 h" in made[-1].shown.covers


def test_a_grant_survives_being_kept() -> None:
    for scope in GrantScope:
        grant = granted(shell("./scripts/x.sh src/a.py"), effect("src/b.py"), scope)
        assert grant_from(grant.as_json()) == grant


MORE = st.sampled_from([
    "frob", "--fix", "src/a.py", "src/b.py", "other/c.py", ";", "&&", "|", "rm", "sudo", "$(x)",
    "*", "-x", ">", "src", "..", "'", "git push", "./scripts/x.sh", "ls", "&& ls",
])  # fmt: skip
WORDS = st.builds(
    lambda edits: _edited(["frob", "--fix", "src/a.py"], edits),
    st.lists(st.tuples(st.integers(0, 6), MORE), max_size=3),
)


def _edited(words: list[str], edits: list[tuple[int, str]]) -> list[str]:
    """Put words in; a place beyond the end takes the last word away."""
    for at, word in edits:
        words = words[:-1] if at > len(words) else [*words[:at], word, *words[at:]]
    return words


PATHS = st.lists(st.sampled_from(["src/a.py", "src/b/c.py", "other/c.py", "README", "srcs/x"]),
                 max_size=3, unique=True)  # fmt: skip


@pytest.mark.guarantee("G1")
@settings(max_examples=400, deadline=None)
@given(WORDS, PATHS, st.integers(-100, 600), st.integers(0, 300))
def test_no_grant_covers_anything_outside_its_bounds(
    words: list[str], paths: list[str], minutes: int, uses: int
) -> None:
    call = shell(" ".join(words))
    now = NOW + timedelta(minutes=minutes)
    asked = question(call, effect(*sorted(paths)), now=now)
    if uncovered(replace(RUN, uses=uses), asked):
        return
    said = asked.facts.commands
    assert any(command.words[0] == "frob" for command in said)
    assert all(
        command.words[:2] == ("frob", "--fix")
        and all(f"{word}/".startswith("src/") for word in command.words[2:])
        for command in said
        if command.words[0] != "ls"
    )
    assert all(path.startswith("src/") for path in paths)
    assert 0 <= minutes < 480
    assert uses < RUN.max_uses
