"""The policy as it is on disk now: read when a session opens, and again before every effect."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from luminaguard.errors import PolicyError
from luminaguard.policy.cache import VerdictCache
from luminaguard.policy.policy import Policy
from luminaguard.policy.rules.book import Rulebook
from luminaguard.policy.rules.files import Contents, RuleFiles, complaints, parsed


@dataclass(slots=True, kw_only=True)
class PolicySource:
    """Gives the policy in force. Blocking; safe to share between threads."""

    files: RuleFiles = field(default_factory=RuleFiles)
    warn: Callable[[str], None] = lambda _: None
    """Told once of each entry that is not in force."""
    _held: Policy | None = None
    _read: Contents | None = None
    """What the held policy was made of."""
    _warned: set[str] = field(default_factory=set[str])
    _cache: VerdictCache = field(default_factory=VerdictCache)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def opened(self) -> Policy:
        """Return the policy at the start of a session.

        Raises:
            PolicyError: a rules file cannot be read; nothing may run.
        """
        policy = self.current()
        if policy.problem:
            raise PolicyError(policy.problem, hint="mend the rules file, or remove it")
        return policy

    def current(self) -> Policy:
        """Return the policy as the files are now.

        While they cannot be read, that is a policy that forbids everything and says why.
        """
        with self._turn:
            try:
                contents = self.files.contents()
                if self._held is None or contents != self._read:
                    self._held, self._read = self._made(contents), contents
            except PolicyError as error:
                hint = f" ({error.hint})" if error.hint else ""
                self._held, self._read = Policy(problem=f"{error}{hint}", cache=self._cache), None
            return self._held

    def _made(self, contents: Contents) -> Policy:
        read = tuple(parsed(tier, path, content) for tier, (path, content) in contents.items())
        for line in complaints(read):
            if line not in self._warned:
                self._warned.add(line)
                self.warn(line)
        return Policy(Rulebook(files=read), cache=self._cache)
