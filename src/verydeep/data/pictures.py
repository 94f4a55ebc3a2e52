"""Pictures of any sizes that are in memory already."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from verydeep.data.dataset import Dataset
from verydeep.pictures.jpeg import Rows


@dataclass(frozen=True, eq=False, kw_only=True)
class Pictures(Dataset):
    """Pictures in memory, each of its own size."""

    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]]

    def picture(
        self, index: int, at_least: int | None = None, fast: bool = False, rows: Rows | None = None
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The picture itself: see `Dataset.picture`."""
        return self.pictures[index]

    def size(self, index: int) -> tuple[int, int]:
        """Height and width."""
        height, width = self.pictures[index].shape[:2]
        return height, width

    def _part(self, chosen: Int64[np.ndarray, " k"]) -> dict[str, Any]:
        return super()._part(chosen) | {"pictures": tuple(self.pictures[index] for index in chosen.tolist())}
