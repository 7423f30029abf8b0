"""Open questions of one process, and the ways for screens to see and answer them."""
