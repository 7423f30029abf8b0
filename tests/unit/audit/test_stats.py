"""Statistics say how often people are asked, how they answer and what models cost."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from luminaguard.audit.log import AuditLog
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.audit.stats import Stats, stats_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Story:
    """Writes calls at moments of its own."""

    def __init__(self, state_dir: Path) -> None:
        self.at = NOW
        self.state_dir = state_dir
        self.log = AuditLog.open(state_dir, lambda: self.at)
        self._calls = 0

    def session(self) -> None:
        self.log.append("session.started", {}, session_id="s")

    def call(self, *, end: str = "", approver: str = "tty", seconds: float = 0.0) -> None:
        self._calls += 1
        call = f"c{self._calls}"
        self.log.append("call.proposed", {}, session_id="s", call_id=call)
        if end:
            card = {"verdict": {"rules": ["effect-unknown", "may-delete"]}}
            asked = {"risk": "high", "card": card}
            self.log.append("approval.requested", asked, session_id="s", call_id=call)
            self.at += timedelta(seconds=seconds)
            decision = {"decision": {"end": end, "approver": approver}}
            self.log.decide(f"n{self._calls}", decision, session_id="s", call_id=call)
        outcome = "committed" if end == "approved" else "discarded" if end else "executed"
        self.log.append("call.outcome", {"outcome": outcome}, session_id="s", call_id=call)

    def reply(self, model: str, cost: str | None) -> None:
        usage = {"input_tokens": 100, "output_tokens": 10, "cost_usd": cost}
        self.log.append("model.replied", {"model": model, "usage": usage}, session_id="s")

    def stats(self) -> Stats:
        self.log.close()
        return stats_of(AuditReader(self.state_dir).stream(Query(newest_first=False, limit=0)))


def test_asking_and_answering_is_counted(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.session()
    story.session()
    story.call()
    story.call(end="approved", seconds=1.5)
    story.call(end="approved", seconds=9.5)
    story.call(end="rejected", seconds=4.0)
    story.call(end="expired", seconds=300.0)
    found = story.stats()
    assert (found.sessions, found.calls, found.asked) == (2, 5, 4)
    assert found.prompts_per_session == 2.0
    assert found.approval_rate == 0.5
    assert found.ends == {"approved": 2, "rejected": 1, "expired": 1}
    assert found.outcomes == {"executed": 1, "committed": 2, "discarded": 2}
    assert found.asked_by_risk == {"high": 4}
    assert found.asked_by_rule == {"effect-unknown": 4, "may-delete": 4}
    assert found.seconds == (1.5, 4.0, 9.5)


def test_who_is_no_human_does_not_count_as_fast(tmp_path: Path) -> None:
    story = Story(tmp_path)
    for approver in ("all", "deny", "rule", "grant"):
        story.call(end="approved", approver=approver)
    found = story.stats()
    assert found.seconds == ()
    assert sum(found.approvers.values()) == 4


def test_costs_are_added_up_by_model_and_an_unknown_one_stays_unknown(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.reply("a", "0.10")
    story.reply("a", "0.25")
    story.reply("b", "0.10")
    story.reply("b", None)
    told = story.stats().as_json()["models"]
    assert told == [
        {"model": "a", "replies": 2, "input_tokens": 200, "output_tokens": 20, "cost_usd": "0.35"},
        {"model": "b", "replies": 2, "input_tokens": 200, "output_tokens": 20, "cost_usd": None},
    ]


def test_an_empty_log_has_no_rates(tmp_path: Path) -> None:
    found = Story(tmp_path).stats()
    assert (found.prompts_per_session, found.approval_rate) == (None, None)
    assert found.as_json()["sessions"] == 0
