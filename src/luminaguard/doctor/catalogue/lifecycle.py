"""Over whole machines: clones, their ends, what is kept of them, and the running QEMU itself."""

from luminaguard.doctor.attack import Attack, Judge, Stage, Where
from luminaguard.doctor.judges import All, AtMost, Differ, Of, Shows, refused
from luminaguard.doctor.stages import clones, ends, tampered, vmm


def _attack(
    name: str,
    layer: str,
    control: str,
    stage: Stage,
    judge: Judge,
    where: Where = Where.LIFECYCLE,
) -> Attack:
    return Attack(name=name, layer=layer, control=control, where=where, script=stage, judge=judge)


_FOREIGN = "the host's root or our own user"
_CHANGED = Shows({tampered.UNTOUCHED: True}, errors=frozenset({"TemplateError"}))

RUNNING_QEMU = (
    _attack(
        "start-a-program",
        "jail-seccomp",
        "QEMU's system call filter",
        vmm.start_a_program,
        refused("SIGSYS", "EPERM"),
        Where.VMM,
    ),
    _attack(
        "write-the-templates-memory",
        "jail-memory",
        "sealed memory",
        vmm.write_the_templates_memory,
        refused("EPERM", at_least=3),
        Where.VMM,
    ),
    _attack(
        "write-the-read-only-disks",
        "jail-memory",
        "descriptors opened for reading only",
        vmm.write_the_read_only_disks,
        Shows(
            {
                f"{name} is open{how}": True
                for name in ("image", "workspace")
                for how in ("", " for reading only")
            }
        ),
        Where.VMM,
    ),
    _attack(
        "use-inherited-files",
        "jail-environment",
        "only named descriptors are inherited",
        vmm.use_what_it_inherited,
        Shows({"its image is open": True, "other open files": []}),
        Where.VMM,
    ),
    _attack(
        "share-a-user-with-another-machine",
        "jail-uid",
        "uids leased by lock",
        vmm.share_a_user,
        All(
            (
                Differ(("users of two at once", "users of it and a later one")),
                Of(lambda step: not step.did.startswith("users"), Shows({_FOREIGN: False})),
            )
        ),
        Where.VMM,
    ),
)

LIFECYCLE = (
    _attack(
        "draw-the-same-randomness",
        "randomness",
        "reseeding at hand-out",
        clones.draw_the_same_randomness,
        Differ(clones.DRAWN),
    ),
    _attack(
        "guess-where-programs-lie",
        "randomness",
        "address space layout randomization",
        clones.guess_where_programs_lie,
        Differ(clones.LAID_OUT),
    ),
    _attack(
        "run-before-reseeding",
        "randomness",
        "no command before the reseed",
        clones.run_before_reseeding,
        refused("VmStateError"),
    ),
    _attack(
        "live-in-the-past",
        "randomness",
        "clock set at hand-out",
        clones.live_in_the_past,
        AtMost(
            {
                "seconds since the template was saved": (1.0, 10.0**9),
                "seconds that the clock is off": (0.0, 0.5),
            }
        ),
    ),
    _attack(
        "leave-a-secret-on-the-disk",
        "remains",
        "a fresh scratch disk per machine",
        clones.leave_a_secret_on_the_disk,
        Shows(
            {
                "on its own disk": True,
                "on its workspace image": False,
                "on the next one's disk": False,
                "files found by the next one, and files of its workspace": "0 1",
            }
        ),
    ),
    _attack(
        "leave-a-secret-in-the-template",
        "remains",
        "memory mapped privately, sealed",
        clones.leave_a_secret_in_the_template,
        Shows(
            {
                "the search finds what is there": True,
                "in the saved memory": False,
                "in the memory that clones share": False,
                "the template's files are as before": True,
            }
        ),
    ),
    _attack(
        "outlive-the-call",
        "leftovers",
        "cgroup.kill at the end of each call",
        clones.outlive_the_call,
        All(
            (
                Of(
                    lambda step: step.did == "processes left and named",
                    AtMost({"processes left and named": (1, 4)}),
                ),
                Of(
                    lambda step: step.did != "processes left and named",
                    Shows(
                        {"its heart has stopped": "True", "others in /proc": "[]", "signal it": 3}
                    ),
                ),
            )
        ),
        Where.INSIDE,
    ),
    _attack(
        "write-during-the-harvest",
        "leftovers",
        "everything is killed before a harvest",
        clones.write_during_the_harvest,
        Shows({"the counter was harvested": True, "both harvests agree": True}),
        Where.INSIDE,
    ),
    _attack(
        "run-while-paused",
        "pauses",
        "QEMU's stop",
        clones.run_while_paused,
        All(
            (
                Of(lambda step: step.refused is not None, refused("VmStateError")),
                AtMost(
                    {
                        "seconds paused": (0.9, 60.0),
                        "processor seconds meanwhile": (0.0, 0.1),
                        "seconds that the guest lived meanwhile": (0.0, 0.3),
                    }
                ),
            )
        ),
    ),
    _attack(
        "outlive-the-stop",
        "ends",
        "stop waits for the kernel's word",
        ends.outlive_the_stop,
        Shows({"alive before": True, "gone after": True}, errors=frozenset({"ESRCH"})),
    ),
    _attack(
        "outlive-a-killed-owner",
        "ends",
        "parent-death signal; undertaker",
        ends.outlive_a_killed_owner,
        All(
            (
                Of(
                    lambda step: step.did.startswith("machines"),
                    Shows({"machines alive before": 2, "machines alive after": 0}),
                ),
                AtMost({"seconds until they were gone": (0.0, 10.0)}),
            )
        ),
    ),
    _attack(
        "reuse-a-rejected-machine",
        "ends",
        "a machine whose call was not approved is destroyed",
        ends.reuse_a_rejected_machine,
        Shows(
            {
                "the call ended": "discarded",
                "its machine is gone": True,
                "machines made": 2,
                "the next call ended": "executed",
                "the next call sees the workspace": True,
                "the next call sees what was planted": False,
            }
        ),
    ),
    _attack(
        "wake-changed-memory",
        "templates",
        "hash of the memory",
        tampered.wake_changed_memory,
        _CHANGED,
    ),
    _attack(
        "wake-changed-devices",
        "templates",
        "hash of the device state",
        tampered.wake_changed_devices,
        _CHANGED,
    ),
    _attack(
        "wake-a-changed-manifest",
        "templates",
        "the manifest's hash covers where memory lies",
        tampered.wake_a_changed_manifest,
        _CHANGED,
    ),
    _attack(
        "wake-a-template-of-another-making",
        "templates",
        "key of everything that shapes it",
        vmm.wake_a_template_that_never_was,
        refused("TemplateError"),
    ),
    _attack(
        "boot-a-changed-image",
        "templates",
        "hashes of the image's files",
        tampered.boot_a_changed_image,
        refused("ImageError", at_least=3),
    ),
    _attack(
        "swap-the-image-of-a-template",
        "templates",
        "identity of the image's files, watched",
        tampered.swap_the_image_of_a_template,
        Shows({tampered.UNTOUCHED: True}, errors=frozenset({"ImageError"})),
    ),
    _attack(
        "read-a-template-as-another-user",
        "templates",
        "private directories",
        ends.read_a_template_as_another_user,
        refused("EACCES", at_least=3),
    ),
)
