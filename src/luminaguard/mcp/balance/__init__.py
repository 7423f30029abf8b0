"""Which endpoint answers next: decided without I/O, on clocks that are handed in."""
