"""Elements: all values of one number, of records or of their members, while they are being moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(eq=False)
class Elements:
    """All values of one variable, of records or of members, on a grid of what records keep.

    Attributes:
        columns: Column of the codes for each slot.
        places: Column of the positions for each slot.
        x: Values in grid units, shape `(slots, rows)`.
        low: The least that each may become, whole.
        high: The most; the same where a value must stay.
    """

    columns: list[int]
    places: list[int]
    x: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def put(self, chosen: np.ndarray, at: float) -> None:
        """Give some values (as places in the flat arrays) another, at which they stay."""
        for array in (self.x, self.low, self.high):
            array.flat[chosen] = at
