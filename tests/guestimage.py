"""The guest image that tests boot: the user's current one, built if there is none yet."""

import pytest

from luminaguard.config import load
from luminaguard.errors import ImageError
from luminaguard.image.build import build
from luminaguard.image.image import GuestImage
from luminaguard.image.recipe import load_recipe
from luminaguard.image.store import ImageStore


def ready_image() -> GuestImage:
    """Return the current image, intact and of this recipe; skip where none can be built."""
    store = ImageStore(load().cache_dir)
    try:
        image = store.current()
        store.verify(image)
        if store.manifest(image).recipe_version != load_recipe().version:
            raise ImageError("the image is of another recipe")
    except ImageError:
        return built_image(store)
    return image


def built_image(store: ImageStore) -> GuestImage:
    """Return the image of the newest packages at hand; skip where none can be built."""
    try:
        return build(store, load_recipe(), lambda _stage, _done: None)
    except ImageError as error:
        pytest.skip(f"no guest image: {error} ({error.hint})")
