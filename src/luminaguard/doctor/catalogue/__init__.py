"""Every attack that LuminaGuard is tried with, by where the attacker stands."""
