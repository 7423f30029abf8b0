"""Values that every part speaks of: calls, verdicts, changesets, decisions, outcomes.

Standard library only; no input, no output, no clock. Frozen, so that what was shown is what is
decided on and what is done.
"""
