"""Where a workspace may be shown, and what a command's environment is made of."""

import sys

import pytest

from luminaguard_guest.child import environment
from luminaguard_guest.faults import GuestFault
from luminaguard_guest.workspace import check_path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guest is Linux")


@pytest.mark.parametrize(
    "path", [b"/home/alice/x", b"/tmp/a/b", b"/root/x", b"/w", b"/var/lib/x", b"/u\xff/x"]
)
def test_a_workspace_may_lie_anywhere_that_the_guest_does_not_need(path: bytes) -> None:
    check_path(path)


@pytest.mark.parametrize(
    "path",
    [
        *(b"", b"/", b"x", b"/a/../etc", b"/a/./b", b"/a//b", b"/a/", b"//etc"),
        *(b"/etc", b"/usr/src/x", b"/proc/self", b"/dev/shm/x", b"/sys", b"/run/luminaguard/upper"),
        *(b"/tmp", b"/home", b"/home/guest", b"/var/tmp", b"/bin/x", b"/lib64/x"),
    ],
)
def test_a_workspace_cannot_cover_what_the_guest_needs(path: bytes) -> None:
    with pytest.raises(GuestFault):
        check_path(path)


def test_a_calls_environment_is_added_to_the_minimal_one() -> None:
    env = environment([b"EXTRA=a=b", b"PATH=/mine", b"EMPTY="])
    assert env[b"EXTRA"] == b"a=b"
    assert env[b"PATH"] == b"/mine"
    assert env[b"EMPTY"] == b""
    assert env[b"HOME"] == b"/home/guest"
    assert environment([])[b"PATH"] != b"/mine", "one call's environment reached the next"
