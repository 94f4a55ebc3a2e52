"""A net that describes pictures and a linear classifier of its descriptors: used, kept in a folder, read again."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float32, Float64

from verydeep.data.dataset import Dataset
from verydeep.errors import TransferError, WeightsError
from verydeep.evaluation.posteriors import Posteriors, name_of, softmax
from verydeep.evaluation.predict import Prediction, answers, open_files
from verydeep.nets.net import Net
from verydeep.nets.registry import load_net, read_net, save_net
from verydeep.transfer.descriptors import AnyNet, Combine, Way, describe_by, weights_of
from verydeep.weights.files import load, save

FILE = "transfer.safetensors"  # of a model's folder: the classifier, and a card with all the rest
FEW = 100  # pictures, which are predicted before a measurement of data types would end
KIND = "transfer 1"  # what the card says it is, with the version of its layout


@dataclass(frozen=True, eq=False)
class Model:
    """Pictures → posteriors, through descriptors of fixed nets and one linear classifier.

    Attributes:
        nets: that describe.
        ways: how each does.
        classes: keys of the classes.
        names: what people call them, by key.
        weights: of the classifier, a row for each class.
        shift: added to each class's score.
        temperature: that scores are divided by before the soft-max.
        card: what else is known, such as its errors.
    """

    nets: tuple[AnyNet, ...]
    ways: tuple[Way, ...]
    classes: tuple[str, ...]
    names: Mapping[str, str]
    weights: Float64[np.ndarray, "k d"]
    shift: Float64[np.ndarray, " k"]
    temperature: float = 1.0
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of its nets."""
        return " + ".join(net.name for net in self.nets)

    def credentials(self, where: str) -> str:
        """One line on what it knows and how often it errs, from its card."""
        known = f"{where}: {self.name} with a linear classifier of {len(self.classes):,} classes"
        row = self.card.get("row")
        if not isinstance(row, dict):
            return known
        return (
            f"{known} of {row['data']}; of {row['images']:,} pictures that it had not seen it named "
            f"{100 * row['top1_error']:.0f} % wrongly"
        )

    def describe(
        self,
        data: Dataset,
        *,
        cache: str | Path | None = None,
        device: str | torch.device = "auto",
        data_type: str = "auto",
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Float32[np.ndarray, "n d"]:
        """Descriptors as the classifier takes them: see `transfer.describe`."""
        return describe_by(self.nets, self.ways, data, cache, device, data_type, threads=threads, progress=progress)

    def posteriors(self, data: Dataset, **how: Any) -> Posteriors:
        """What it says of each picture; `how` as for `describe`."""
        start = time.perf_counter()
        scores = self.describe(data, **how) @ self.weights.T + self.shift
        places = {key: place for place, key in enumerate(self.classes)}
        known = [places.get(key, -1) for key in data.classes]
        return Posteriors(
            values=softmax((scores / self.temperature).astype(np.float32)),
            images=tuple(data.images),
            classes=self.classes,
            labels=np.array([*known, -1], np.int64)[data.labels],
            net=self.name,
            weights=str(self.card.get("weights", "")),
            data=name_of(data),
            split=data.split,
            protocol=" + ".join(map(str, self.ways)),
            seconds=time.perf_counter() - start,
        )

    def predict(
        self, paths: Sequence[str | Path], *, count: int = 5, device: str = "auto", threads: int | None = None
    ) -> Iterator[Prediction]:
        """What pictures are taken for: files, folders, or `-` for standard input; see `evaluation.predict`."""
        pictures = open_files(paths, self.classes)
        how = {"device": device, "threads": threads, "data_type": "auto" if len(pictures) > FEW else "float32"}
        return answers(pictures, lambda some: self.posteriors(some, **how), count)

    def export(self, path: str | Path) -> float:
        """Write it to one ONNX file: see `transfer.export`."""
        from verydeep.transfer.export import export_model

        return export_model(self, path)

    def save(self, folder: str | Path) -> Path:
        """Write the classifier and the nets of ours into a folder; of other people's nets the name is kept.

        Raises:
            TransferError: the folder cannot be made, or a net has no name to find it by.
        """
        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TransferError(f"{target}: cannot be made a folder ({error.strerror}); give another") from None
        nets = []
        for place, net in enumerate(self.nets):
            where = net.name
            if isinstance(net, Net):
                where = f"describes-{place}.safetensors"
                save_net(target / where, net, {"names": {}})
            elif not net.name.startswith(("torchvision:", "timm:")):
                raise TransferError(f"{net.name}: is a net of one's own code, which no file can hold; keep it yourself")
            nets.append({"net": where, "weights": weights_of(net)})
        ways = [
            {"layer": way.layer, "scales": list(way.scales), "combine": way.combine, "mirror": way.mirror}
            for way in self.ways
        ]
        about = {"kind": KIND, "nets": nets, "ways": ways, "classes": list(self.classes), "names": dict(self.names)}
        tensors = {"weights": torch.from_numpy(self.weights), "shift": torch.from_numpy(self.shift)}
        save(target / FILE, tensors, {**self.card, **about, "temperature": self.temperature})
        return target


def is_model(where: str | Path) -> bool:
    """Whether a folder holds a model that `Model.save` has written."""
    return (Path(where) / FILE).is_file()


def load_model(folder: str | Path) -> Model:
    """The model of a folder.

    Raises:
        WeightsError: a file is missing, damaged or not one of ours, or a net has other weights than it had.
    """
    path = Path(folder) / FILE
    tensors, card = load(path)
    try:
        if card.pop("kind") != KIND:
            raise KeyError("kind")
        given, ways = card.pop("nets"), card.pop("ways")
        classes, names = tuple(card.pop("classes")), dict(card.pop("names"))
        temperature = float(card.pop("temperature"))
        weights, shift = tensors["weights"].double().numpy(), tensors["shift"].double().numpy()
        chosen = tuple(
            Way(way["layer"], tuple(way["scales"]), cast(Combine, way["combine"]), way["mirror"]) for way in ways
        )
        references = [(str(each["net"]), str(each["weights"])) for each in given]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: is no model of `verydeep transfer` ({error}); make it again") from None
    nets = []
    for where, checksum in references:
        ours = where.endswith(".safetensors")
        net = read_net(path.with_name(Path(where).name))[0] if ours else load_net(where)[0]
        if weights_of(net) != checksum:
            raise WeightsError(f"{path}: {where} has other weights now than when it was made; make it again")
        nets.append(net)
    if shift.shape != (len(classes),) or weights.ndim != 2 or len(weights) != len(classes) or len(nets) != len(chosen):
        raise WeightsError(f"{path}: its classifier does not fit its {len(classes)} classes; make it again")
    return Model(tuple(nets), chosen, classes, names, weights, shift, temperature, card)
