# What commands may touch in a guest whose kernel enforces AppArmor: one profile per hardening
# profile. Compiled when an image is built; the guest has no parser.
#
# A workspace is shown at the path that it has on the host, so what is writable cannot be named by
# that path: it is every place below a first directory, less those that belong to the guest.

# Every first directory but /dev and /proc, in which only the files named below may be written.
@{PLACE}=/{[^dp],d[^e],de[^v],dev?,p[^r],pr[^o],pro[^c],proc?}* /{d,de,p,pr,pro}

profile luminaguard-strict flags=(mediate_deleted) {
  / r,
  /** rmix,
  @{PLACE}/** wlk,
  deny /{bin,boot,etc,lib,lib32,lib64,libx32,opt,run,sbin,sys,usr}/** wl,

  /dev/{null,zero,full,random,urandom,tty,ptmx} w,
  /dev/pts/* w,
  /dev/shm/** wlk,

  # Naming its own threads is all that a command may change in /proc.
  /proc/[0-9]*/{,task/[0-9]*/}comm w,
  deny /proc/[0-9]*/{,task/[0-9]*/}mem rw,
  deny /proc/[0-9]*/{,task/[0-9]*/}pagemap r,

  network unix,
  network inet stream,
  network inet dgram,
  network inet6 stream,
  network inet6 dgram,
  network netlink,

  signal peer=luminaguard-strict,
  signal (receive) peer=unconfined,
  ptrace (read, readby) peer=luminaguard-strict,
  ptrace (readby) peer=unconfined,
}

# The same, and programs that look into their own kind: debuggers, tracers, leak checkers.
profile luminaguard-relaxed flags=(mediate_deleted) {
  / r,
  /** rmix,
  @{PLACE}/** wlk,
  deny /{bin,boot,etc,lib,lib32,lib64,libx32,opt,run,sbin,sys,usr}/** wl,

  /dev/{null,zero,full,random,urandom,tty,ptmx} w,
  /dev/pts/* w,
  /dev/shm/** wlk,

  /proc/[0-9]*/{,task/[0-9]*/}{comm,mem,coredump_filter,oom_score_adj} w,

  network unix,
  network inet stream,
  network inet dgram,
  network inet6 stream,
  network inet6 dgram,
  network netlink,

  signal peer=luminaguard-relaxed,
  signal (receive) peer=unconfined,
  ptrace peer=luminaguard-relaxed,
  ptrace (readby) peer=unconfined,
}
