"""What the cache keeps: packages that a stored image was made from, so it can be built again."""

from luminaguard.errors import ImageError
from luminaguard.image.additions.tarballs import forget_tarballs
from luminaguard.image.additions.wheels import forget_wheels
from luminaguard.image.apt import file_name, forget_packages
from luminaguard.image.manifest import PackageKind, PackageRecord
from luminaguard.image.store import ImageStore


def forget_unused(store: ImageStore) -> None:
    """Remove fetched packages that no stored image was made from. Only while no build runs.

    If an image's manifest cannot be read, nothing is removed.
    """
    try:
        records = [each for image in store.list() for each in store.manifest(image).packages]
    except ImageError:
        return
    debs = [each for each in records if each.kind in {PackageKind.DEB, PackageKind.TOOL}]
    forget_packages(
        store.cache_dir / "packages",
        kept=(file_name(each.name, each.version, each.architecture) for each in debs),
    )
    forget_wheels(store.cache_dir / "wheels", kept=_digests(records, PackageKind.WHEEL))
    forget_tarballs(store.cache_dir / "npm", kept=_digests(records, PackageKind.NPM))


def _digests(records: list[PackageRecord], kind: PackageKind) -> frozenset[str]:
    return frozenset(each.sha256 for each in records if each.kind is kind)
