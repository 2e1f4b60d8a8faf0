"""Ten photographs that scikit-image brings (the extra `photographs`), so that there are real ones without a network.

An astronaut, a man with a camera, a cat, a cup of coffee, coins, grass, galaxies, a motorcycle, a retina and a rocket.
All but the motorcycle are in the public domain or CC0; that is of the Middlebury stereo benchmark of 2014. They have
neither classes nor masks.
"""

from pathlib import Path

import numpy as np

from tokenlens.data.files import FileSet
from tokenlens.data.registry import register
from tokenlens.data.selection import chosen
from tokenlens.errors import UnknownName, located

WHERE = "scikit-image"
FILES = (
    "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "hubble_deep_field.jpg",
    "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip


class Photographs(FileSet):
    """They are the same everywhere, so runs call them by their name."""

    @property
    def dataset(self) -> str:  # type: ignore[override]
        """What runs call the set."""
        return self.name


@register("photographs", f"photographs:{WHERE}", splits=("val",), ids="what is on them")
def open_photographs(where: str, split: str = "val", limit: int | None = None, skip_bad: bool = False) -> Photographs:
    """Open them, or `limit` of them, evenly spaced.

    Raises:
        UnknownName: `where` is not "scikit-image", or `split` not "val".
        BadInput: the extra `photographs` is not installed.
    """
    if where != WHERE:
        raise UnknownName("set of photographs", where, [WHERE])
    if split != "val":
        raise UnknownName("split of the photographs", split, ["val"])
    folder = located("skimage", "photographs", f"photographs:{where}") / "data"
    found = Photographs(
        f"photographs:{where}",
        split,
        (),
        tuple(Path(name).stem.split("_")[0] for name in FILES),
        tuple(str(folder / name) for name in FILES),
        np.full(len(FILES), -1, np.int32),
    )
    return chosen(found, folder, limit, skip_bad, None)
