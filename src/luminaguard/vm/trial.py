"""What a host is tried with before it counts as one that runs machines: a small guest."""

from luminaguard.errors import HypervisorUnavailable
from luminaguard.image.image import GuestImage
from luminaguard.vm.spec import VmSpec

_MEMORY_MIB = 256


def require_image(image: GuestImage | None) -> GuestImage:
    """Return the image that a probe boots.

    Raises:
        HypervisorUnavailable: there is none.
    """
    if image is None:
        raise HypervisorUnavailable(
            "there is no guest image to try this host with", hint="luminaguard image build"
        )
    return image


def trial_spec(image: GuestImage) -> VmSpec:
    """Return the shape of the machine that is booted only to see whether it comes up."""
    return VmSpec(image=image, memory_mib=_MEMORY_MIB)
