"""Yeses that were given beforehand: finding one, using one, and keeping a new one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anyio import to_thread

from luminaguard.domain.approval import ApprovalRequest, Decision, End
from luminaguard.domain.calls import ToolCall
from luminaguard.domain.verdict import Verdict
from luminaguard.errors import ApprovalError, ChangesetConflict, PolicyError
from luminaguard.pipeline.judging import Judging
from luminaguard.pipeline.rehearsal import Rehearsal
from luminaguard.pipeline.tree import SessionTree
from luminaguard.policy.grants.book import GrantBook
from luminaguard.policy.grants.covers import UNRELATED, Question, uncovered
from luminaguard.policy.grants.grant import Grant
from luminaguard.policy.grants.offers import Offer, Offering
from luminaguard.policy.rules.facts import facts_of
from luminaguard.policy.standing import NoStandingYes, StandingYes


@dataclass(slots=True, kw_only=True)
class StandingYeses:
    """The user's rules that allow, and the grants, as one session may use them."""

    judging: Judging
    tree: SessionTree
    session_id: str
    offering: Offering
    book: GrantBook | None
    """None where nothing is remembered."""
    recent: Callable[[], Sequence[ToolCall]]
    """Gives calls that were made lately: what a wider grant would also let through is shown by
    them. Blocking."""

    async def find(
        self, call: ToolCall, verdict: Verdict, rehearsal: Rehearsal
    ) -> StandingYes | NoStandingYes:
        """Return the yes that covers a call with its measured effect, or why none does."""
        by_rule = self.judging.policy.standing(verdict, rehearsal.changeset)
        if isinstance(by_rule, StandingYes) or self.book is None:
            return by_rule
        by_grant = await to_thread.run_sync(self._by_grant, call, verdict, rehearsal)
        return by_grant if isinstance(by_grant, StandingYes) or by_grant.why else by_rule

    async def offers(
        self, call: ToolCall, verdict: Verdict, rehearsal: Rehearsal
    ) -> tuple[Offer, ...]:
        """Return the ways to remember a yes to this call."""
        if self.book is None:
            return ()

        def made() -> tuple[Offer, ...]:
            question = self._question(call, verdict, rehearsal)
            return self.offering.offers(question, self.recent())

        return await to_thread.run_sync(made)

    async def keep(self, grant: Grant) -> None:
        """Keep what was granted.

        Raises:
            PolicyError: it cannot be kept.
        """
        if self.book is not None:
            await to_thread.run_sync(self.book.add, grant)

    async def use(self, standing: StandingYes) -> None:
        """Count the use of a grant, right before the effect. Rules are not counted.

        Raises:
            ChangesetConflict: it was revoked, has expired or was used up meanwhile.
        """
        if standing.approver != "grant" or self.book is None:
            return
        try:
            await to_thread.run_sync(self.book.spend, standing.name)
        except PolicyError as error:
            raise ChangesetConflict(f"what was granted holds no longer: {error}") from error

    def _by_grant(
        self, call: ToolCall, verdict: Verdict, rehearsal: Rehearsal
    ) -> StandingYes | NoStandingYes:
        grants = self.book.all() if self.book else ()
        if not grants:
            return NoStandingYes()
        question = self._question(call, verdict, rehearsal)
        found = [(grant, uncovered(grant, question)) for grant in grants]
        fitting = next((grant for grant, why in found if not why), None)
        if fitting is not None:
            return StandingYes(
                approver="grant",
                name=fitting.grant_id,
                reason=f"granted earlier: {fitting.covers}",
                proof=f"{fitting.grant_id}, use {fitting.uses + 1} of {fitting.max_uses}, "
                f"given by {fitting.given_by}",
            )
        near = next(((grant, why) for grant, why in found if why != UNRELATED), None)
        if near is None:
            return NoStandingYes()
        return NoStandingYes(why=f"{near[0].grant_id} does not cover it: {near[1]}")

    def _question(self, call: ToolCall, verdict: Verdict, rehearsal: Rehearsal) -> Question:
        return Question(
            facts=facts_of(call, self.judging.context),
            verdict=verdict,
            changeset=rehearsal.changeset,
            workspace=self.tree.identity,
            session_id=self.session_id,
            policy_version=self.judging.policy.version,
            digest_of=self.tree.digest,
            now=self.offering.now(),
        )


def grant_taken(
    decision: Decision, request: ApprovalRequest, offers: Sequence[Offer]
) -> Grant | None:
    """Return what a yes wants remembered; None if it was just for once.

    Raises:
        ApprovalError: it names an offer that was not made.
    """
    if decision.end is not End.APPROVED or not decision.grant:
        return None
    offer = next((offer for offer in offers if offer.shown.offer_id == decision.grant), None)
    if offer is None:
        raise ApprovalError("the answer takes an offer that was not made")
    given_by = f"{decision.approver} ({decision.proof})" if decision.proof else decision.approver
    return offer.taken(given_by=given_by, request=request.digest, at=decision.at)
