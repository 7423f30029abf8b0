"""Attacks that take more than one place: over whole machines, from the host's side."""
