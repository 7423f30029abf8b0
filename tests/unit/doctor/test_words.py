"""Programs' words for errors become the errors' names."""

import pytest

from luminaguard.doctor.words import error_name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("ls: cannot access '/etc': No such file or directory", "ENOENT"),
        ("unshare: unshare failed: Operation not permitted", "EPERM"),
        ("bash: line 3: kill: (12) - No such process", "ESRCH"),
        ("bash: /new: Read-only file system", "EROFS"),
        ("sh: 1: Cannot fork: Resource temporarily unavailable", "EAGAIN"),
        ("mount: permission denied.", "EACCES"),
        ("something else", "something else"),
        ("", ""),
    ],
)
def test_a_message_ends_with_the_name_of_its_error(words: str, name: str) -> None:
    assert error_name(words) == name
