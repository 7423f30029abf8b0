"""The one error of the build machine's side."""


class Unusable(Exception):
    """An archive is not what it should be; the message names it."""
