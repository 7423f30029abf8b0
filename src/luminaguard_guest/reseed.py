"""Fresh randomness and time: two clones of one template are otherwise the same machine.

Measured: clones of one template gave byte-identical /dev/urandom, also with a virtio RNG attached,
until the kernel's generator was fed and told to reseed.
"""

import fcntl
import os
import struct
import time

# Source: Linux include/uapi/linux/random.h
_RNDADDENTROPY = 0x40085203
_RNDRESEEDCRNG = 0x5207


def reseed(entropy: bytes, wall_clock_ns: int) -> None:
    """Feed the kernel's random number generator, make it use that at once, and set the clock."""
    descriptor = os.open("/dev/urandom", os.O_WRONLY | os.O_CLOEXEC)
    try:
        pool = struct.pack("=ii", len(entropy) * 8, len(entropy)) + entropy
        fcntl.ioctl(descriptor, _RNDADDENTROPY, pool)
        fcntl.ioctl(descriptor, _RNDRESEEDCRNG, 0)
    finally:
        os.close(descriptor)
    time.clock_settime_ns(time.CLOCK_REALTIME, wall_clock_ns)
