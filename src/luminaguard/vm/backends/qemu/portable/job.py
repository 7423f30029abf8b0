"""A Windows job object around one QEMU: it dies with its owner, starts nothing, and is bounded.

Source: Microsoft, "Job Objects"; JOBOBJECT_EXTENDED_LIMIT_INFORMATION, SetInformationJobObject.
"""

import ctypes
import sys

from luminaguard.errors import VmError

_EXTENDED_LIMIT_INFORMATION = 9
_ACTIVE_PROCESS, _JOB_MEMORY, _DIE_ON_UNHANDLED, _KILL_ON_CLOSE = 0x8, 0x200, 0x400, 0x2000
_PROCESS_RIGHTS = 0x0100 | 0x0001
"""PROCESS_SET_QUOTA and PROCESS_TERMINATE, which assigning to a job asks for."""


class BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION on 64-bit Windows."""

    _fields_ = (
        ("per_process_user_time", ctypes.c_int64),
        ("per_job_user_time", ctypes.c_int64),
        ("flags", ctypes.c_uint32),
        ("minimum_working_set", ctypes.c_uint64),
        ("maximum_working_set", ctypes.c_uint64),
        ("active_processes", ctypes.c_uint32),
        ("affinity", ctypes.c_uint64),
        ("priority_class", ctypes.c_uint32),
        ("scheduling_class", ctypes.c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION on 64-bit Windows."""

    _fields_ = (
        ("basic", BasicLimits),
        ("io_counters", ctypes.c_uint64 * 6),
        ("process_memory", ctypes.c_uint64),
        ("job_memory", ctypes.c_uint64),
        ("peak_process_memory", ctypes.c_uint64),
        ("peak_job_memory", ctypes.c_uint64),
    )


def limits(memory_bytes: int) -> ExtendedLimits:
    """Return what the job demands: one process, bounded memory, an end with its owner."""
    wanted = ExtendedLimits()
    wanted.basic.flags = _ACTIVE_PROCESS | _JOB_MEMORY | _DIE_ON_UNHANDLED | _KILL_ON_CLOSE
    wanted.basic.active_processes = 1
    wanted.job_memory = memory_bytes
    return wanted


class Job:
    """The job of one process; closing it, or dying, ends the process."""

    def __init__(self, pid: int, memory_bytes: int) -> None:
        """Take a running process into a new job.

        Raises:
            VmError: Windows refused; the process is not confined.
        """
        if sys.platform != "win32":
            raise VmError("only Windows has job objects")
        self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        for name in ("CreateJobObjectW", "OpenProcess"):
            getattr(self._kernel, name).restype = ctypes.c_void_p
        self._job = ctypes.c_void_p(self._kernel.CreateJobObjectW(None, None))
        wanted = limits(memory_bytes)
        process = ctypes.c_void_p(self._kernel.OpenProcess(_PROCESS_RIGHTS, 0, pid))
        try:
            fine = self._kernel.SetInformationJobObject(
                self._job,
                _EXTENDED_LIMIT_INFORMATION,
                ctypes.byref(wanted),
                ctypes.sizeof(wanted),
            ) and self._kernel.AssignProcessToJobObject(self._job, process)
            if not fine:
                raise VmError(f"Windows makes no job for QEMU: error {ctypes.get_last_error()}")
        except VmError:
            self.close()
            raise
        finally:
            self._kernel.CloseHandle(process)

    def close(self) -> None:
        """End whatever is in it."""
        if sys.platform == "win32":
            self._kernel.CloseHandle(self._job)
