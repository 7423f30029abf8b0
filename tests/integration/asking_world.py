"""The real `luminaguard` command over a machine in memory; started by test_approvals.py.

The guest has one program: `edit` changes src/main.py, makes new.txt and deletes README.
"""

from luminaguard import fleet
from luminaguard.cli import exec as exec_module
from luminaguard.cli.main import main
from luminaguard.config import Settings
from luminaguard.domain.execution import Execution, GuestReport
from luminaguard.image.image import GuestImage
from luminaguard.testing.hypervisor import FakeGuest, FakeHypervisor, exited
from luminaguard.vm.spec import VmSpec


def edit(guest: FakeGuest, execution: Execution) -> GuestReport:
    del execution
    guest.upper.write("src/main.py", b"print('two')\n")
    guest.upper.write("new.txt", b"new\n")
    guest.upper.delete("README")
    return exited(0, stdout=b"edited\n")


async def only_the_fake(settings: Settings, image: object) -> FakeHypervisor:
    del settings, image
    return FakeHypervisor({"edit": edit, "/bin/bash": edit})


def fake_spec(settings: Settings, image: object) -> VmSpec:
    del image
    return VmSpec(image=GuestImage(directory=settings.cache_dir / "image", digest="0" * 64))


if __name__ == "__main__":
    for module in (exec_module, fleet):
        vars(module).update(choose=only_the_fake, machine_spec=fake_spec)
    main()
