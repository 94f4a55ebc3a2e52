"""A study of transfer as data: sets of pictures, and rows of tables 11 and 12, each a way of using a net on a set.

A TOML file, all of which is checked before anything runs. Decision: docs/decisions/126-studies-of-transfer.md.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from verydeep.errors import StudyError
from verydeep.studies.study import Parameter, Texts, as_parameter, nearest, read_graph, substitute
from verydeep.training.recipe import Listed, Table, recipes
from verydeep.transfer.descriptors import SCALES

Kind = Literal["linear", "pixels", "last", "all", "scratch"]
Numbers = Annotated[tuple[float, ...], Field(strict=False, min_length=1)]


class Pictures(Table):
    """A set of pictures, and what of it is trained on and tested. Source: appendix B."""

    folder: str  # in the folder that holds the sets
    kind: str | None = None  # of data set, where it is not to be recognised
    table: Literal["table-11", "table-12"] = "table-11"
    column: str  # of the table: a key of published.toml, or of a set that the paper has not
    train: int | str  # pictures of a class, drawn at random; or a split
    watched: str | None = None  # the split that C is chosen on, then trained on, too; by default a fifth of `train`
    test: int | str | None = None  # pictures of a class at most, by default all the others; or a split
    splits: int = Field(1, ge=1)  # at random

    @model_validator(mode="after")
    def _agrees(self) -> "Pictures":
        if isinstance(self.train, str) and (not isinstance(self.test, str) or self.splits > 1):
            raise ValueError("train is a split, so test is one too, and splits is left out")
        if isinstance(self.train, int) and (isinstance(self.test, str) or self.watched):
            raise ValueError("train is a number of pictures, so test is one or is left out, and watched is left out")
        return self


class TransferRow(Table):
    """A way of using a net on a set of pictures. Sides are those of the paper's crop. Source: appendix B."""

    set: str
    way: Kind = "linear"  # machines on descriptors or on raw pixels; last layer or all tuned; trained from scratch
    nets: Texts = ()  # whose descriptors are stacked; one to tune
    weights: str | None = None  # of all of them, as `create_net` takes them; or "random"
    scales: Annotated[tuple[int, ...], Listed] = SCALES[:1]  # Q, px
    combine: Literal["average", "stack"] = "average"
    views: Literal["mean", "largest"] = "mean"  # of a picture's windows, in testing
    regions: Texts = ("image",)  # of persons: image, box
    recipe: str | None = None  # that a net is trained by from scratch
    changes: dict[str, Any] = Field({})  # of this recipe
    epochs: int | None = Field(None, ge=1)  # of tuning or training
    like: str | None = None  # the row of the paper's table that does the same
    when: bool = True  # whether it is one of the study's, such as "$full"

    @model_validator(mode="after")
    def _agrees(self) -> "TransferRow":
        refusals = [
            (self.way == "linear" and not self.nets, "nets is missing; name one or more"),
            (self.way in ("last", "all") and len(self.nets) != 1, f'way = "{self.way}" is of one net; name it in nets'),
            (self.way in ("pixels", "scratch") and self.nets, f'way = "{self.way}" takes no nets; leave them out'),
            ((self.way == "scratch") != (self.recipe is not None), 'recipe goes with way = "scratch"; give both'),
            (self.recipe is not None and self.recipe not in recipes(),
             f"{self.recipe} is not a recipe; {nearest(self.recipe or '', recipes())}"),
            (bool(self.changes) and self.recipe is None, "changes are of a recipe; name it, or leave them out"),
            (self.way == "scratch" and self.epochs is None, 'way = "scratch" needs epochs'),
            (self.views == "largest" and (len(self.nets) != 1 or self.combine != "average" or len(self.regions) > 1),
             'views = "largest" goes with one net, one region and combine = "average"'),
            (bool({*self.regions} - {"image", "box"}), "regions are image and box"),
        ]  # fmt: skip
        for wrong, message in refusals:
            if wrong:
                raise ValueError(message)
        return self


class TransferStudy(Table):
    """All that decides a study of transfer."""

    name: str
    title: str
    about: str = ""
    parameters: dict[str, Parameter] = Field({})
    Cs: Numbers  # to choose C from
    sets: dict[str, Pictures]
    rows: dict[str, TransferRow]

    @model_validator(mode="after")
    def _agrees(self) -> "TransferStudy":
        for name, row in self.rows.items():
            if row.set not in self.sets:
                raise ValueError(f"rows.{name}: {row.set} is not a set; {nearest(row.set, self.sets)}")
            pictures = self.sets[row.set]
            if row.way not in ("linear", "pixels") and isinstance(pictures.train, str):
                raise ValueError(f'rows.{name}: way = "{row.way}" is for sets of one class a picture')
            if row.regions != ("image",) and pictures.kind != "voc-actions":
                raise ValueError(f"rows.{name}: regions are for sets of persons")
        return self


def transfer_studies() -> dict[str, Path]:
    """The studies of transfer that the package brings, by name."""
    return {path.stem: path for path in sorted(Path(__file__).with_name("transfers").glob("*.toml"))}


def is_transfer(where: str | Path) -> bool:
    """Whether a study's name, or its file, is of transfer."""
    path = Path(where)
    return str(where) in transfer_studies() or (path.is_file() and "sets" in read_graph(path))


def read_transfer_study(
    where: str | Path, parameters: Mapping[str, Parameter | str] | None = None
) -> TransferStudy:  # fmt: skip
    """The study of transfer of a TOML file, or of one that the package brings, by its name.

    Args:
        where: the file or the name.
        parameters: instead of the study's own.

    Raises:
        StudyError: it cannot be read, or does not hold together.
    """
    values = read_graph(transfer_studies().get(str(where), Path(where)))
    known = values.get("parameters", {})
    values["parameters"] = known | {
        key: as_parameter(key, value, known, where) for key, value in (parameters or {}).items()
    }
    values = substitute(values, values["parameters"], str(where))
    rows: dict[str, Any] = values.get("rows", {})
    values["rows"] = {name: row for name, row in rows.items() if row.get("when", True) is not False}
    try:
        return TransferStudy.model_validate({"name": Path(where).stem} | values)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise StudyError(f"study {where}: {f'{key}: ' if key else ''}{message}") from None
