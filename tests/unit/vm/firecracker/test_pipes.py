"""Log and metrics are read without waiting for ever, bounded, and never believed."""

import os

import pytest

from luminaguard.vm.backends.firecracker.api.faults import ApiLost
from luminaguard.vm.backends.firecracker.pipes import MetricsTail, Tail
from luminaguard.vm.linux import quiet_pipe

pytestmark = pytest.mark.anyio


async def test_the_last_of_a_log_is_kept_and_stays_after_closing() -> None:
    read_end, write_end = quiet_pipe()
    tail = Tail(read_end, kept_bytes=10)
    assert tail.read() == b""
    os.write(write_end, b"a long line that ends here")
    assert tail.read() == b" ends here"
    os.write(write_end, b"!")
    tail.close()
    tail.close()
    assert tail.read() == b"ends here!"
    os.close(write_end)


async def test_the_newest_whole_line_of_metrics_counts() -> None:
    read_end, write_end = quiet_pipe()
    metrics = MetricsTail(read_end)
    os.write(write_end, b'{"n": 1}\n{"n": 2}\n{"n": ')
    assert await metrics.latest(1) == {"n": 2}
    metrics.close()
    os.close(write_end)


@pytest.mark.parametrize("said", [b"", b"no end of a line", b"nonsense\n", b"[1]\n"])
async def test_metrics_that_are_none_are_not_waited_for_or_believed(said: bytes) -> None:
    read_end, write_end = quiet_pipe()
    metrics = MetricsTail(read_end)
    os.write(write_end, said)
    with pytest.raises(ApiLost, match="metrics"):
        await metrics.latest(0.05)
    metrics.close()
    os.close(write_end)
