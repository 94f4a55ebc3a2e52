"""Descriptors as scikit-learn has a transformer: in a pipeline before any of its classifiers, in a grid search."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from verydeep.data.dataset import UNLABELLED, Dataset
from verydeep.data.pictures import Pictures
from verydeep.errors import TransferError
from verydeep.evaluation.predict import open_files
from verydeep.nets.net import Net
from verydeep.nets.registry import load_net
from verydeep.nets.wrap import Wrapped
from verydeep.transfer.descriptors import describe


class Descriptor(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Describes pictures by a fixed net; it learns nothing. See `describe`.

    Args:
        net: what `load_net` takes, such as "tiny-imagenet" or "timm:resnet18", or a net; or several.
        layer: whose map is averaged; by default the penultimate one, after its ReLU.
        scales: smallest sides Q, px; by default 256, 384 and 512 for a crop of 224, in proportion for others.
        combine: whether scales are averaged ("average") or put behind each other ("stack").
        mirror: whether mirror images are shown, too.
        cache: a folder that keeps what was described; None: nothing is kept.
        device: `auto` is CUDA, then MPS, then the CPU.
        data_type: in which the net is computed; see `describe`.
        threads: that decode pictures; by default one a processor, at most eight.

    Attributes:
        n_features_out_: numbers in a descriptor.

    Source: appendix B.
    """

    def __init__(
        self,
        net: Any = "tiny-imagenet",
        *,
        layer: Any = None,
        scales: Any = None,
        combine: Any = "average",
        mirror: Any = True,
        cache: Any = None,
        device: Any = "auto",
        data_type: Any = "auto",
        threads: Any = None,
    ) -> None:  # as scikit-learn has it, values are looked at when they are used
        self.net, self.layer, self.scales, self.combine, self.mirror = net, layer, scales, combine, mirror
        self.cache, self.device, self.data_type, self.threads = cache, device, data_type, threads

    def fit(self, X: Any, y: Any = None) -> "Descriptor":
        """Load the nets, and find out how long their descriptors are.

        Args:
            X: pictures: a data set; or a list of files, or of arrays h w 3 of 0 to 255, RGB.
            y: is not looked at.
        """
        given = [self.net] if isinstance(self.net, (str, PathLike, Net, Wrapped)) else list(self.net)
        self.nets_ = [each if isinstance(each, (Net, Wrapped)) else load_net(str(each))[0] for each in given]
        first = as_dataset(X)
        self.n_features_out_ = self._describe(first.subset(range(min(1, len(first))))).shape[1]
        return self

    def transform(self, X: Any) -> Float32[np.ndarray, "n d"]:
        """The descriptors of pictures."""
        if not hasattr(self, "nets_"):
            self.fit(X)  # which learns nothing, so that nothing is lost
        return self._describe(as_dataset(X))

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def _describe(self, data: Dataset) -> Float32[np.ndarray, "n d"]:
        return describe(
            self.nets_,
            data,
            layer=self.layer,
            scales=self.scales,
            combine=self.combine,
            mirror=self.mirror,
            cache=self.cache,
            device=self.device,
            data_type=self.data_type,
            threads=self.threads,
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True  # names of files
        tags.input_tags.three_d_array = True
        tags.no_validation = True
        tags.requires_fit = False
        return tags


def as_dataset(pictures: Any) -> Dataset:
    """Pictures in whatever form as a data set: one, files, or arrays h w 3 of 0 to 255, RGB.

    Raises:
        TransferError: they are something else.
    """
    if isinstance(pictures, Dataset):
        return pictures
    if isinstance(pictures, (str, PathLike)):
        raise TransferError(f"{pictures}: is one path; give a list of files, or open_dataset(…)")
    some = list(pictures)
    if all(isinstance(each, (str, PathLike)) for each in some):
        for each in some:
            if Path(each).is_dir():
                raise TransferError(f"{each}: is a folder; give files, or open_dataset(…)")
        return open_files([str(each) for each in some], ())
    arrays = [np.asarray(each) for each in some]
    for place, array in enumerate(arrays):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
            what = f"{array.dtype} of shape {array.shape}"
            raise TransferError(f"picture {place}: is {what}; give files, or arrays [h, w, 3] of uint8, RGB")
    return Pictures(
        kind="arrays",
        root=Path("arrays"),
        split="all",
        classes=(),
        names={},
        images=tuple(f"picture {place}" for place in range(len(arrays))),
        labels=np.full(len(arrays), UNLABELLED, np.int64),
        pictures=tuple(arrays),
    )
