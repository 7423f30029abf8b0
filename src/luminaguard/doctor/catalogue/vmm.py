"""From the place of QEMU: what a guest that took its QEMU over would try on the host."""

from luminaguard.doctor.attack import Attack, Evidence, Finding, JailScript, Judge, Where
from luminaguard.doctor.jailed import FILE_BYTES, MEMORY_BYTES, PROCESSES
from luminaguard.doctor.judges import (
    All,
    AtMost,
    Of,
    Shows,
    Stops,
    Verdict,
    broken,
    refused,
)


def _unnoticed(judge: Judge) -> Judge:
    """Return a judge that also wants the host to have noticed nothing."""

    def ruling(evidence: Evidence) -> Finding:
        noticed = [step.value for step in evidence.host]
        finding = judge(evidence)
        if finding.verdict is Verdict.ENFORCED and noticed != ["nothing"]:
            return broken(f"the host noticed {noticed}")
        return finding

    return ruling


def _attack(
    name: str, layer: str, control: str, code: str, judge: Judge, needs: str | None = None
) -> Attack:
    return Attack(
        name=name,
        layer=layer,
        control=control,
        where=Where.VMM,
        script=JailScript(code=code, needs=needs),
        judge=judge,
    )


VMM = (
    _attack(
        "read-the-hosts-files",
        "jail-files",
        "mount namespace with a root of copies",
        """
for path in /etc/passwd /etc/shadow /home /root /var /run /tmp /sys /boot "$TEMPLATE"; do
    try "list $path" "ls $path"
done
""",
        refused("ENOENT", at_least=10),
    ),
    _attack(
        "write-to-the-host",
        "jail-files",
        "read-only root",
        """
for path in /new /firmware/bios-256k.bin /dev/new /usr/new /lib64/new /proc/sys/kernel/hostname \
            /proc/sysrq-trigger; do
    try "write $path" ": >>$path"
done
""",
        refused("EROFS", "EACCES", "EPERM", "ENOENT", at_least=7),
    ),
    _attack(
        "open-the-hosts-devices",
        "jail-files",
        "no devices but /dev/null and the accelerator's",
        """
for path in /dev/mem /dev/sda /dev/vda /dev/nvme0n1 /dev/fuse /dev/net/tun /dev/ptmx /dev/shm; do
    try "read $path" "ls $path"
done
""",
        refused("ENOENT", at_least=8),
    ),
    _attack(
        "see-the-hosts-processes",
        "jail-processes",
        "pid namespace",
        """
try "see LuminaGuard" "ls /proc/$HOST_PID/fd"
try "see another process" "ls /proc/$VICTIM/fd"
count=0; for one in /proc/[0-9]*; do count=$((count + 1)); done
note processes $count
""",
        All(
            (
                Of(lambda step: step.did != "processes", refused("ENOENT", at_least=2)),
                AtMost({"processes": (1, 4)}),
            )
        ),
    ),
    _attack(
        "kill-the-hosts-processes",
        "jail-processes",
        "pid namespace; other user",
        """
try "kill a process" "kill -KILL $VICTIM"
try "signal LuminaGuard" "kill -0 $HOST_PID"
try "signal another machine" "kill -KILL $OTHER"
""",
        _unnoticed(refused("ESRCH", "EPERM", at_least=3)),
    ),
    _attack(
        "read-another-machines-memory",
        "jail-uid",
        "pid namespace; a user of its own",
        """
try "its memory" "ls /proc/$OTHER/mem"
try "its files" "ls /proc/$OTHER/fd"
try "the template on disk" "cat $TEMPLATE/ram"
""",
        refused("ENOENT", "EACCES", "EPERM", at_least=3),
    ),
    _attack(
        "connect-to-the-host",
        "jail-network",
        "network namespace; no sockets but local ones",
        """
try "a server on the host" "exec 9<>/dev/tcp/127.0.0.1/$PORT"
""",
        _unnoticed(refused("ECONNREFUSED", "ENETUNREACH", "EPERM")),
    ),
    _attack(
        "connect-anywhere",
        "jail-network",
        "network namespace; no sockets but local ones",
        """
try "TCP" "exec 9<>/dev/tcp/192.0.2.1/80"
try "UDP" "echo x >/dev/udp/192.0.2.1/9"
while IFS=: read -r name rest; do [ -n "$rest" ] && names="$names$name"; done </proc/net/dev
note interfaces "${names// /}"
""",
        Shows({"interfaces": "lo"}, errors=frozenset({"ENETUNREACH", "EPERM"})),
    ),
    _attack(
        "use-rights-of-root",
        "jail-rights",
        "no capabilities; no_new_privs",
        """
for kind in mount net pid ipc uts; do
    try "new $kind namespace" "unshare --$kind cat /dev/null"
done
try "chroot" "chroot /proc /self/exe"
try "user id 0" "setpriv --reuid 0 cat /dev/null"
""",
        refused("EPERM", "EINVAL", at_least=7),
    ),
    _attack(
        "hold-a-capability",
        "jail-rights",
        "no capabilities; no_new_privs",
        """
while read -r name value rest; do
    case $name in
        CapInh:|CapPrm:|CapEff:|CapAmb:|NoNewPrivs:) note "${name%:}" "$((16#$value))";;
    esac
done </proc/self/status
""",
        Shows({"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0, "NoNewPrivs": 1}),
    ),
    _attack(
        "gain-rights-in-a-user-namespace",
        "jail-rights",
        "user namespaces off inside the jail",
        'try "new user namespace" "unshare --user cat /dev/null"',
        refused("EPERM", "ENOSPC", "ENOSYS", "EACCES"),
    ),
    _attack(
        "read-the-hosts-environment",
        "jail-environment",
        "an environment of its own",
        """
note "a variable planted on the host" "$LUMINAGUARD_DOCTOR_PLANTED"
note "its own variable" "${OWNER:+seen}"
while IFS= read -r -d '' one; do
    case $one in LUMINAGUARD_DOCTOR_PLANTED=*) note "planted, from /proc" "$one";; esac
done </proc/self/environ
note "read /proc" yes
""",
        Shows(
            {
                "a variable planted on the host": "",
                "its own variable": "seen",
                "read /proc": "yes",
            }
        ),
    ),
    _attack(
        "write-a-huge-file",
        "jail-limits",
        "RLIMIT_FSIZE",
        """
trap '' XFSZ
block=; while [ ${#block} -lt 65536 ]; do block=${block}xxxxxxxxxxxxxxxx; done
for ((n = 0; n < 64; n++)); do echo "$block" >&$DISK || break; done 2>/dev/null
note "pieces of 64 KiB" $n
""",
        AtMost({"pieces of 64 KiB": (1, 17), "bytes that the host found": (1, FILE_BYTES)}),
    ),
    _attack(
        "raise-its-limits",
        "jail-limits",
        "hard limits; no capabilities",
        """
try "core dumps" "ulimit -H -c unlimited"
try "open files" "ulimit -H -n 100000"
try "file size" "ulimit -H -f unlimited"
try "address space" "ulimit -H -v unlimited"
""",
        refused("EPERM", at_least=4),
    ),
    _attack(
        "fork-bomb-on-the-host",
        "jail-limits",
        "cgroup: pids.max",
        """
bomb='n=0; while [ $n -lt 500 ]; do cat <&3 >/dev/null 2>&1 & n=$((n + 1)); echo $n; done'
"$SH" -c "$bomb" 3<&$GO 2>&1 | {
    while read -r line; do case $line in *fork*) stopped=EAGAIN;; *) n=$line;; esac; done
    reached processes "${n:-0}" "$stopped"
}
""",
        Stops(frozenset({"EAGAIN"}), at_most=PROCESSES),
        needs="cgroup-limits",
    ),
    # Last, as it may take everything in its cgroup along.
    _attack(
        "memory-hog-on-the-host",
        "jail-limits",
        "cgroup: memory limit",
        """
hoard=xxxxxxxxxxxxxxxx; n=0
while [ ${#hoard} -lt 1048576 ]; do hoard=$hoard$hoard; done
declare -a more
while [ $n -lt 1024 ]; do more[n]=$hoard; n=$((n + 1)); reached MiB $n; done
""",
        Stops(
            frozenset({"ENOMEM"}),
            at_most=MEMORY_BYTES >> 20,
            ends=frozenset({"signal 9", "killed"}),
        ),
        needs="cgroup-limits",
    ),
)
