"""A study as data: a graph of runs, what each is tested by, what is fused, and the tables and findings that it fills.

A TOML file. All of it is checked before anything runs.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from verydeep.errors import ProtocolError, RecipeError, StudyError
from verydeep.evaluation.protocol import parse
from verydeep.nets.registry import NETS
from verydeep.studies.published import TABLES
from verydeep.training.recipe import Listed, Recipe, Table, parse_recipe, read_values

PAPERS_CROP = 224  # px; sides in a study are the paper's, and are scaled with the crop. Source: section 2.1

Parameter = bool | int | float | str
Texts = Annotated[tuple[str, ...], Listed]


class Trial(NamedTuple):
    """A run, and a protocol that it is tested by, with the sides of the paper's crop: `d-256 dense@256`."""

    run: str
    protocol: str

    def __str__(self) -> str:
        return f"{self.run} {self.protocol}"


class StudyRun(Table):
    """A training of the graph, once for every seed. Source: section 3.1 (the chain of starts)."""

    like: str | None = None  # a recipe that the package brings, from which that of the whole study differs
    recipe: dict[str, Any] = Field({})  # what differs from these
    when: bool = True  # whether the run is one of the study; such as "$full"
    graft: str | None = None  # the run whose layers of the same names it starts from
    weights: str | None = None  # the run of the same net whose weights it starts from
    seeds: int = Field(1, ge=1)
    tests: Texts = ()  # protocols

    @property
    def start(self) -> str | None:
        """The run that it starts from."""
        return self.graft or self.weights


class Fusion(Table):
    """Posteriors of several tests, averaged (section 4.4); or boxes of localisers for the best classes (appendix A)."""

    of: Texts = ()
    boxes: Texts = ()  # tests of localisers, whose boxes are put together; then `of` is the one test that names classes
    net: str | None = None  # instead of `of`: a net that is there already, such as the bundled one
    protocol: str | None = None  # that it names classes by

    @property
    def tests(self) -> Texts:
        """All tests that have to be done before, or whose nets are needed."""
        return (*self.of, *self.boxes)


class Finding(Table):
    """Something that the paper says of errors: in each pair, the first test's beside the second's.

    The first pair decides; the others stand beside it.
    """

    claim: str
    source: str
    expects: Literal["less", "no less"] = "less"
    pairs: Annotated[tuple[Annotated[tuple[str, str], Listed], ...], Field(strict=False, min_length=1)]
    published: float | None = (
        None  # the paper's difference of the first pair, where its errors are not in tables 3 to 7
    )
    margin: float = Field(0.01, gt=0)  # a smaller difference counts as none where "no less" is expected


class Study(Table):
    """All that decides a study."""

    name: str
    title: str
    about: str = ""
    data: str | None = None
    parameters: dict[str, Parameter] = Field({})
    recipe: dict[str, Any] = Field({})  # of every run
    runs: dict[str, StudyRun]
    splits: Texts = ("val",)  # that the runs are tested on; of "train" as many pictures as are watched
    speed: bool = False  # whether the peak of convolutions is measured before each training
    signals: bool = False  # whether activations and gradients of every layer are measured, before training and after
    fusions: dict[str, Fusion] = Field({})
    tables: Texts = ()
    findings: dict[str, Finding] = Field({})

    def recipe_of(self, run: str, seed: int, start: str | Path | None = None) -> Recipe:
        """The recipe of a run, without its data.

        Args:
            run: of the study.
            seed: of the run.
            start: the file of the net that it starts from; by default the run's name stands for it.
        """
        planned = self.runs[run]
        like = read_values(planned.like) if planned.like else {}
        values = merge(merge(like, self.recipe), planned.recipe)
        crop = values.get("crop", PAPERS_CROP)
        views = dict(values.get("views", {}))
        for key in {"smallest_side", "scale_jitter", "sides", "side_jitter"} & views.keys():
            views[key] = scaled(views[key], crop)
        validation = dict(values.get("validation", {}))
        if "protocol" in validation:
            validation["protocol"] = scale_protocol(validation["protocol"], crop)
        starts = dict(values.get("start", {}))
        if planned.start is not None:
            starts["graft" if planned.graft else "weights"] = str(start or planned.start)
        tables = {"views": views, "validation": validation, "start": starts}
        return parse_recipe(values | tables | {"seed": seed}, f"study {self.name}: runs.{run}")

    def protocol_of(self, test: Trial) -> str:
        """The protocol of a test, with the sides of its net's crop."""
        return scale_protocol(test.protocol, self.recipe_of(test.run, 0).crop)

    def tests(self, run: str) -> list[Trial]:
        """The tests of a run."""
        return [Trial(run, protocol) for protocol in self.runs[run].tests]

    def gives_boxes(self, run: str) -> bool:
        """Whether a run is of a localiser."""
        return run in self.runs and self.recipe_of(run, 0).boxes is not None

    def error_of(self, one: str) -> str:
        """What is counted of a test or a fusion, in words."""
        if one in self.fusions:
            return "top-5 localisation error" if self.fusions[one].boxes else "top-1 error"
        return "localisation error with the class known" if self.gives_boxes(self.find(one).run) else "top-1 error"

    def find(self, test: str) -> Trial:
        """The test that a text such as `d-256 dense@256` names.

        Raises:
            StudyError: the study has no such run, or does not test it so.
        """
        run, _, protocol = test.partition(" ")
        if run not in self.runs:
            raise StudyError(f"{run} is not a run of study {self.name}; {nearest(run, self.runs)}")
        if protocol not in self.runs[run].tests:
            raise StudyError(
                f"{run} is not tested by {protocol or 'no protocol'}; {nearest(protocol, self.runs[run].tests)}"
            )
        return Trial(run, protocol)


def scaled(side: Any, crop: int) -> Any:
    """A side, or a list of them, of the paper's crop → of another crop, px."""
    if isinstance(side, list | tuple):
        return [scaled(each, crop) for each in side]
    return round(side * crop / PAPERS_CROP) if isinstance(side, int) else side


def scale_protocol(protocol: str, crop: int) -> str:
    """`dense@256,384` → the same with the sides of another crop: `dense@73,110`."""

    def sides(found: re.Match[str]) -> str:
        return re.sub("[0-9]+", lambda side: str(scaled(int(side[0]), crop)), found[0])

    return re.sub("@[0-9,]+", sides, protocol)


def studies() -> dict[str, Path]:
    """The studies that the package brings, by name."""
    return {path.stem: path for path in sorted(Path(__file__).with_name("graphs").glob("*.toml"))}


def read_study(where: str | Path, parameters: Mapping[str, Parameter | str] | None = None) -> Study:
    """The study of a TOML file, or of one that the package brings, by its name.

    Args:
        where: the file or the name.
        parameters: instead of the study's own; a text becomes what the study's own is.

    Raises:
        StudyError: it cannot be read, or does not hold together: a circle, a missing run, an unknown table, parameter,
            key or protocol, an impossible recipe.
    """
    values = read_graph(where)
    known = values.get("parameters", {})
    chosen = {key: as_parameter(key, value, known, where) for key, value in (parameters or {}).items()}
    values["parameters"] = known | chosen
    values = substitute(values, values["parameters"], str(where))
    values["runs"] = {name: run for name, run in values.get("runs", {}).items() if run.get("when", True) is not False}
    try:
        study = Study.model_validate({"name": Path(where).stem} | values)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise StudyError(f"study {where}: {key}: {problem['msg'].removeprefix('Value error, ')}") from None
    try:
        check(study)
    except (StudyError, RecipeError, ProtocolError) as error:
        raise StudyError(
            f"study {where}: {error}".replace(f"study {where}: study {study.name}: ", f"study {where}: ")
        ) from None
    return study


def read_graph(where: str | Path, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a file says, on top of the study that it says it is like."""
    file = Path(where)
    if not file.is_file() and str(where) in studies():
        file = studies()[str(where)]
    if str(file) in above:
        raise StudyError(f"study {where}: is like itself; remove one `like`")
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(
            f"study {where}: cannot be read ({error.strerror}); give a TOML file, or one of {', '.join(studies())}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"study {where}: is not TOML ({error})") from None
    like = values.pop("like", None)
    return values if like is None else merge(read_graph(like, (*above, str(file))), values)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One tree of values on top of another."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def substitute(values: Any, parameters: Mapping[str, Parameter], where: str) -> Any:
    """The values with each `$name` replaced by the parameter of this name."""
    if isinstance(values, Mapping):
        return {key: substitute(value, parameters, where) for key, value in values.items()}
    if isinstance(values, list):
        return [substitute(value, parameters, where) for value in values]
    if not isinstance(values, str) or not values.startswith("$"):
        return values
    if values[1:] not in parameters:
        raise StudyError(f"study {where}: {values} is not a parameter; {nearest(values[1:], parameters)}")
    return parameters[values[1:]]


def as_parameter(key: str, value: Parameter, known: Mapping[str, Parameter], where: str | Path) -> Parameter:
    """A value for a parameter, of the type that the study's own has."""
    if key not in known:
        raise StudyError(f"study {where}: {key} is not a parameter; {nearest(key, known)}")
    own = known[key]
    if isinstance(own, bool):
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
    else:
        try:
            return type(own)(str(value))  # so that 3.7 does not become the whole number 3
        except ValueError:
            pass
    kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(own)]
    raise StudyError(f"study {where}: {key} is {value!r}; give {kind}, such as {str(own).lower()}")


def nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """What to do about a name that is not known."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0)
    return f"did you mean {near[0]}?" if near else "there is none"


def check(study: Study) -> None:
    """Find out whether a study holds together. Raises as `read_study` does."""
    for name, run in study.runs.items():
        if run.graft and run.weights:
            raise StudyError(f"runs.{name}: graft and weights are both given; leave one out")
        if run.start is not None and run.start not in study.runs:
            raise StudyError(
                f"runs.{name} starts from {run.start}, which is not a run; {nearest(run.start, study.runs)}"
            )
    for name, run in study.runs.items():
        trail = [name, *starts(study, name)]
        if trail[-1] in trail[:-1]:
            raise StudyError(f"runs start from each other in a circle: {' from '.join(trail)}")
        if run.start is not None and study.runs[run.start].seeds < run.seeds:
            raise StudyError(
                f"runs.{name} has {run.seeds} seeds, {run.start}, which it starts from, {study.runs[run.start].seeds}; "
                "give both as many"
            )
    for name in study.runs:
        recipe = study.recipe_of(name, 0)
        if recipe.net not in NETS:
            raise StudyError(f"runs.{name}: {recipe.net} is not a net; {nearest(recipe.net, NETS)}")
        for test in study.tests(name):
            parse(study.protocol_of(test), recipe.crop, f"runs.{name}")
    for table in study.tables:
        if table not in TABLES:
            raise StudyError(f"{table} is not a table; {nearest(table, TABLES)}")
    for name, fusion in study.fusions.items():
        if name in study.runs:
            raise StudyError(f"fusions.{name} is the name of a run, too; give another")
        tests = {study.find(test) for test in fusion.tests}
        if not fusion.boxes and len(tests) < 2:
            raise StudyError(f"fusions.{name} is of fewer than two tests; name several")
        if fusion.boxes and len(fusion.of) + (fusion.net is not None) != 1:
            raise StudyError(f"fusions.{name} has boxes; write one test in `of` that names the classes, or `net`")
        if (fusion.net is None) != (fusion.protocol is None):
            raise StudyError(f"fusions.{name}: net and protocol go together; give both or neither")
        for one in fusion.boxes:
            if not study.gives_boxes(study.find(one).run):
                raise StudyError(f"fusions.{name}: {one} gives no boxes; name runs with recipe.boxes")
    for finding in study.findings.values():
        for pair in finding.pairs:
            for one in pair:
                if one not in study.fusions:
                    study.find(one)


def starts(study: Study, name: str) -> Iterator[str]:
    """The runs that a run starts from, the nearest first; in a circle up to the first that comes again."""
    seen = {name}
    start = study.runs[name].start
    while start is not None:
        yield start
        if start in seen:
            return
        seen.add(start)
        start = study.runs[start].start
