"""Proof of this host's isolation: attacks tried for real, judged by what refused them."""
