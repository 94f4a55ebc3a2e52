"""The random shift of a picture's colours along the principal axes of the training set's. Source: section 3.1."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32


@dataclass(frozen=True)
class RGBShift:
    """The principal axes of a data set's colours.

    Args:
        vectors: one axis a column, rows R, G, B.
        deviations: standard deviation of the pixels along each axis, on the scale of 0 to 255.

    Source: Krizhevsky et al. 2012, section 4.1, whose λ is read as the deviation, not the variance, so that the shift
    has the unit of a pixel.
    """

    vectors: Float[np.ndarray, "3 3"]
    deviations: Float[np.ndarray, " 3"]

    @classmethod
    def from_covariance(cls, covariance: Float[np.ndarray, "3 3"]) -> "RGBShift":
        """The axes of pixels that have this covariance, the longest first."""
        variances, vectors = np.linalg.eigh(covariance)
        # A data set without colour has axes of no length, whose variance rounding may leave below zero.
        return cls(vectors[:, ::-1], np.sqrt(variances[::-1].clip(min=0)))

    def draw(self, generator: np.random.Generator, sigma: float = 0.1) -> Float32[np.ndarray, " 3"]:
        """What to add to R, G and B of every pixel of one picture at one use; nothing is clipped afterwards."""
        along_axes = generator.normal(0, sigma, 3) * self.deviations
        return np.asarray(self.vectors @ along_axes, dtype=np.float32)


IMAGENET = RGBShift(
    vectors=np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]),
    deviations=np.array([118.9, 35.0, 17.1]),
)
