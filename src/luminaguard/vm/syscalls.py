"""Linux's system calls by what they are for: what every command has, and what it is refused.

Every call that LuminaGuard knows is in exactly one group; one that Linux gained later is in none,
and does not exist for commands.
"""

from collections.abc import Mapping

_PLAIN = """
accept accept4 access alarm arch_prctl bind brk cachestat capget capset chdir chmod chown
clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2
dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2
execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat
fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr
fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake futimesat
get_mempolicy get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid geteuid
getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom
getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid
getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel
io_destroy io_getevents io_pgetevents io_setup io_submit ioprio_get ioprio_set kill
landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen
listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat madvise mbind membarrier
memfd_create mincore mkdir mkdirat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify
mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync
munlock munlockall munmap nanosleep newfstatat open openat openat2 pause pidfd_open
pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv
preadv2 prlimit64 pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv
recvfrom recvmmsg recvmsg removexattr removexattrat rename renameat renameat2 restart_syscall rmdir
rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity
sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop
semtimedop sendfile sendmmsg sendmsg sendto set_mempolicy set_robust_list set_thread_area
set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid
setresuid setreuid setrlimit setsid setsockopt setuid setxattr setxattrat shmat shmctl shmdt shmget
shutdown sigaltstack signalfd signalfd4 splice stat statfs statx symlink symlinkat sync
sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate
umask uname unlink unlinkat utime utimensat utimes vfork vmsplice wait4 waitid write writev
"""

PLAIN = tuple(_PLAIN.split())
"""Allowed whatever the arguments: an ordinary user can do no harm with them."""

CHECKED: Mapping[str, str] = {
    "clone": "no new namespaces",
    "unshare": "no new namespaces",
    "socket": "AF_UNIX; AF_INET and AF_INET6 as stream or datagram; AF_NETLINK to routing only",
    "socketpair": "AF_UNIX only",
    "ioctl": "not TIOCSTI, TIOCLINUX, TIOCSETD, TIOCCONS",
    "personality": "the usual one only",
    "mknod": "no devices",
    "mknodat": "no devices",
}
"""Allowed with some arguments: call → which."""

REFUSED: Mapping[str, tuple[str, ...]] = {
    "mounts and roots": (
        *("chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr"),
        *("move_mount", "open_tree", "open_tree_attr", "pivot_root", "umount2"),
    ),
    "namespaces of others": ("setns",),
    "other processes' memory": (
        *("kcmp", "pidfd_getfd", "process_vm_readv", "process_vm_writev", "ptrace"),
    ),
    "kernel code": (
        *("bpf", "delete_module", "finit_module", "init_module", "kexec_file_load", "kexec_load"),
    ),
    "tracing and logs of the kernel": ("lookup_dcookie", "perf_event_open", "syslog"),
    "files by handle, watching whole mounts": (
        *("fanotify_init", "fanotify_mark", "name_to_handle_at", "open_by_handle_at"),
    ),
    "clock": ("adjtimex", "clock_adjtime", "clock_settime", "settimeofday"),
    "the machine": (
        *("acct", "quotactl", "quotactl_fd", "reboot", "setdomainname", "sethostname"),
        *("swapoff", "swapon", "vhangup"),
    ),
    "hardware and segments": ("ioperm", "iopl", "modify_ldt"),
    "pages of others": ("migrate_pages", "move_pages"),
}
"""Refused with EPERM: what they are about → calls."""

ABSENT: Mapping[str, tuple[str, ...]] = {
    "io_uring": ("io_uring_enter", "io_uring_register", "io_uring_setup"),
    "keys": ("add_key", "keyctl", "request_key"),
    "userfaultfd": ("userfaultfd",),
    "clone3": ("clone3",),
    "rarely used, recently added": (
        *("listmount", "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr"),
        *("map_shadow_stack", "memfd_secret", "process_madvise", "process_mrelease"),
        *("set_mempolicy_home_node", "statmount"),
    ),
    "obsolete": (
        *("_sysctl", "afs_syscall", "create_module", "epoll_ctl_old", "epoll_wait_old"),
        *("get_kernel_syms", "getpmsg", "nfsservctl", "putpmsg", "query_module"),
        *("remap_file_pages", "security", "sysfs", "tuxcall", "uselib", "ustat", "vserver"),
    ),
}
"""Answered with ENOSYS, as by a kernel without them: programs then do without. A filter cannot see
the arguments of clone3, so the C library is made to use clone."""
