"""Rules that people write: deny, ask, allow, in the user's own file and in the project's."""
