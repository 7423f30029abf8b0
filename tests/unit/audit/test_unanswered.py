"""A request that was open when its process ended has expired, once and for all."""

from pathlib import Path

import pytest

from luminaguard.audit.log import AuditLog
from luminaguard.audit.query import Query
from luminaguard.audit.reader import AuditReader
from luminaguard.domain.calls import JsonValue
from luminaguard.errors import ApprovalSpent
from luminaguard.testing.cards import text_card

pytestmark = [pytest.mark.guarantee("G4"), pytest.mark.guarantee("G7")]

CARD = text_card({"a.txt": ("old", "new")})
NONCE = CARD.request.nonce
BODY: dict[str, JsonValue] = {"tool": "shell", "card": CARD.as_json()}


def asked(log: AuditLog, session_id: str) -> None:
    log.append("call.proposed", {"call": {"tool": "shell"}}, session_id=session_id, call_id="c1")
    log.append("approval.requested", BODY, session_id=session_id, call_id="c1")


def kinds(state_dir: Path) -> list[str]:
    found = AuditReader(state_dir).find(Query(newest_first=False))
    return [record.kind for record in found]


def test_it_is_recorded_as_expired_before_the_next_call_and_cannot_be_decided(
    tmp_path: Path,
) -> None:
    gone = AuditLog.open(tmp_path)
    asked(gone, "gone")
    gone.close()
    log = AuditLog.open(tmp_path)
    log.append("call.proposed", {"call": {"tool": "exec"}}, session_id="new", call_id="n1")
    assert kinds(tmp_path)[-3:] == ["approval.decided", "intent.unknown", "call.proposed"]
    (record,) = AuditReader(tmp_path).find(Query(decision="expired"))
    assert (record.session_id, record.call_id) == ("gone", "c1")
    assert record.body["nonce"] == NONCE
    with pytest.raises(ApprovalSpent):
        log.decide(NONCE, {"decision": {"end": "approved"}}, session_id="late", call_id="c1")
    log.close()
    assert AuditReader(tmp_path).find(Query(decision="approved")) == []
    assert AuditReader(tmp_path).verify().ok


def test_one_that_was_decided_in_time_keeps_its_end(tmp_path: Path) -> None:
    gone = AuditLog.open(tmp_path)
    asked(gone, "gone")
    gone.decide(NONCE, {"decision": {"end": "rejected"}}, session_id="gone", call_id="c1")
    gone.close()
    log = AuditLog.open(tmp_path)
    log.close_open_intents()
    log.close()
    assert kinds(tmp_path)[-2:] == ["approval.decided", "intent.unknown"]
    assert AuditReader(tmp_path).find(Query(decision="expired")) == []
    assert AuditReader(tmp_path).verify().ok


def test_one_of_a_living_session_stays_open(tmp_path: Path) -> None:
    living, other = AuditLog.open(tmp_path), AuditLog.open(tmp_path)
    asked(living, "living")
    assert other.close_open_intents() == ()
    living.decide(NONCE, {"decision": {"end": "approved"}}, session_id="living", call_id="c1")
    for log in (living, other):
        log.close()
    assert AuditReader(tmp_path).verify().ok


def test_a_request_that_this_version_cannot_read_keeps_no_call_from_running(
    tmp_path: Path,
) -> None:
    gone = AuditLog.open(tmp_path)
    gone.append("call.proposed", {"call": {"tool": "exec"}}, session_id="gone", call_id="c1")
    for body in ({}, {"card": "text"}, {"card": {"request": []}}, {"card": {"request": {}}}):
        gone.append("approval.requested", body, session_id="gone", call_id="c1")  # type: ignore[arg-type]
    gone.close()
    log = AuditLog.open(tmp_path)
    assert len(log.close_open_intents()) == 1
    log.close()
    assert AuditReader(tmp_path).verify().ok
