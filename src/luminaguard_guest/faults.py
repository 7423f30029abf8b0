"""What a guest refuses or cannot do, told to the host in words."""


class GuestFault(Exception):
    """A request could not be carried out; the text goes to the host."""
