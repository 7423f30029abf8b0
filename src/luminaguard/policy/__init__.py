"""Judges a call before anything runs: pure functions from a call to a Verdict."""
