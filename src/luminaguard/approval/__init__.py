"""Asks a human about a measured effect: the card, the approvers, the queue."""
