"""What the paper says, tried: the difference of two errors, its interval over pictures and seeds, and what it shows.

Every pair of nets or protocols is tested on the same pictures, so differences are taken picture by picture. A net that
is trained again with another seed errs elsewhere, and nets differ only where they do so by more than that: pictures and
seeds are both drawn at random, and crossed, since every seed's nets are tested on every picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int
from scipy.special import stdtrit

from verydeep.evaluation.compare import mcnemar
from verydeep.studies.plan import fusion_seeds
from verydeep.studies.published import published_errors
from verydeep.studies.results import Job, Results
from verydeep.studies.study import Finding, Study

Verdict = Literal["holds", "contradicted", "not resolved"]
POWER = 0.8  # with which the smallest effect would have been seen
Differences = Int[np.ndarray, "seeds images"]  # 1 where only the first errs, -1 where only the second does


@dataclass(frozen=True)
class Effect:
    """How much more often the first of a pair errs than the second: top-1 errors, as fractions.

    Attributes:
        first: a test or a fusion of the study.
        second: the one that it is compared with.
        published: the paper's difference; None where it gives none.
        difference: ours, the mean over seeds; all that follow are None where it is not measured yet.
        low: the lower end of its 95 % interval over pictures and seeds.
        high: the upper end.
        smallest: the smallest true difference that would have been seen four times of five.
        p_values: of McNemar's test, for each seed: of pictures alone, so that it says nothing of other seeds.
        seeds: how many.
        images: how many.
        over_seeds: whether the interval is over seeds, too.
        verdict: what it shows.
    """

    first: str
    second: str
    published: float | None
    verdict: Verdict
    difference: float | None = None
    low: float = math.nan
    high: float = math.nan
    smallest: float = math.nan
    p_values: tuple[float, ...] = ()
    seeds: int = 0
    images: int = 0
    over_seeds: bool = False


@dataclass(frozen=True)
class Tried:
    """A finding of the paper with the effect of each of its pairs."""

    finding: Finding
    effects: tuple[Effect, ...]

    @property
    def verdict(self) -> Verdict:
        """What the first pair shows: of many pairs one may look as one likes by chance."""
        return self.effects[0].verdict


def try_findings(study: Study, results: Results) -> dict[str, Tried]:
    """Every finding of a study, tried on what is done. Source: sections 4.1, 4.2, 4.3, 4.4 and 5."""
    spread = variance_of_seeds(study, results)
    tried = {}
    for name, finding in study.findings.items():
        effects = tuple(try_pair(study, results, finding, pair, spread) for pair in finding.pairs)
        tried[name] = Tried(finding, effects)
    return tried


def try_pair(
    study: Study, results: Results, finding: Finding, pair: tuple[str, str], spread: "Spread | None"
) -> Effect:
    """The effect of a pair; `spread` is what seeds do to the error of a net."""
    first, second = pair
    known = published_errors()
    there = known.keys() >= set(pair)
    of_first = finding.published if pair == finding.pairs[0] else None
    published = known[first][0] - known[second][0] if there else of_first
    wrong = [(wrong_of(study, results, first, seed), wrong_of(study, results, second, seed))
             for seed in range(seeds_of(study, pair))]  # fmt: skip
    both = [(one, other) for one, other in wrong if one is not None and other is not None]
    if not both:
        return Effect(first, second, published, "not resolved")
    differences = np.stack([one.astype(int) - other for one, other in both])
    same_nets = runs_of(study, first) == runs_of(study, second)
    # Two nets are two trainings, each of which may come out better or worse by chance. Of one net tested in two ways
    # the difference varies less from seed to seed, as it shows itself.
    spread = None if same_nets else spread
    centre, error, freedom = estimate(differences, spread)
    over_seeds = len(both) > 1 or spread is not None
    wide = float(stdtrit(freedom, 0.975))
    low, high = centre - wide * error, centre + wide * error
    found: Verdict = judge(finding, low, high) if over_seeds or same_nets else "not resolved"
    return Effect(
        first, second, published, found, centre, low, high, (wide + float(stdtrit(freedom, POWER))) * error,
        tuple(mcnemar(one, other) for one, other in both), len(both), differences.shape[1], over_seeds,
    )  # fmt: skip


def judge(finding: Finding, low: float, high: float) -> Verdict:
    """What an interval of the difference shows."""
    if finding.expects == "less":
        return "holds" if high < 0 else "contradicted" if low > 0 else "not resolved"
    return "contradicted" if high < 0 else "holds" if low > -finding.margin else "not resolved"


@dataclass(frozen=True)
class Spread:
    """How much the error of a net varies from seed to seed, beyond the chance of pictures.

    Attributes:
        variance: of the error, a fraction, between seeds.
        freedom: degrees of freedom of the estimate.
    """

    variance: float
    freedom: int


def estimate(differences: Differences, spread: Spread | None = None) -> tuple[float, float, float]:
    """The mean of differences by seed and picture, its standard error, and the degrees of freedom of that.

    Seeds and pictures are crossed and both random: the mean's variance is the mean squares of both over all, with the
    degrees of freedom of Satterthwaite. That counts chance twice, which by the book is taken away again; but with few
    seeds what remains is then too small too often, and 95 % become 90 %. Where a variance of seeds is given, known from
    more runs than these, twice that is taken, once for each of two nets.

    Source: Cornfield & Tukey 1956, "Average values of mean squares in factorials"; Satterthwaite 1946, "An approximate
    distribution of estimates of variance components". Decision: docs/decisions/073-pictures-and-seeds.md.
    """
    seeds, images = differences.shape
    centre = float(differences.mean())
    of_pictures, of_seeds, _ = mean_squares(differences)
    parts = [(of_pictures / (seeds * images), images - 1)]
    if spread is not None:
        parts.append((2 * spread.variance / seeds, spread.freedom))
    elif seeds > 1:
        parts.append((of_seeds / (seeds * images), seeds - 1))
    variance = sum(part for part, _ in parts)
    weights = sum(part**2 / max(freedom, 1) for part, freedom in parts)
    return centre, math.sqrt(variance), variance**2 / weights if weights else math.inf


def error_interval(wrong: Int[np.ndarray, "seeds images"]) -> tuple[float, float]:
    """The 95 % interval of the error of a net that was trained with several seeds, over pictures and seeds."""
    centre, error, freedom = estimate(wrong)
    wide = float(stdtrit(freedom, 0.975)) * error
    return max(0.0, centre - wide), min(1.0, centre + wide)


def mean_squares(values: Differences) -> tuple[float, float, float]:
    """The mean squares of pictures, of seeds, and of the rest; with one seed the latter two are 0."""
    seeds, images = values.shape
    centre = values.mean()
    by_picture, by_seed = values.mean(axis=0) - centre, values.mean(axis=1) - centre
    of_pictures = seeds * float(np.square(by_picture).sum()) / max(images - 1, 1)
    if seeds == 1:
        return of_pictures, 0.0, 0.0
    rest = values - centre - by_picture - by_seed[:, None]
    of_rest = float(np.square(rest).sum()) / ((seeds - 1) * max(images - 1, 1))
    return of_pictures, images * float(np.square(by_seed).sum()) / (seeds - 1), of_rest


def variance_of_seeds(study: Study, results: Results) -> Spread | None:
    """What seeds do to the error of a net, over all runs of the study that have several; None where none has."""
    variances, freedom = [], []
    for name, run in study.runs.items():
        for protocol in run.tests[:1]:
            wrong = [results.wrong(Job(name, seed), protocol) for seed in range(run.seeds)]
            done = [each.astype(int) for each in wrong if each is not None]
            if len(done) > 1:
                _, of_seeds, rest = mean_squares(np.stack(done))
                variances.append((of_seeds - rest) / done[0].size)
                freedom.append(len(done) - 1)
    if not freedom:
        return None
    return Spread(max(0.0, float(np.average(variances, weights=freedom))), sum(freedom))


def seeds_of(study: Study, pair: Sequence[str]) -> int:
    """With how many seeds both of a pair are planned."""
    return min(
        fusion_seeds(study, one) if one in study.fusions else study.runs[study.find(one).run].seeds for one in pair
    )


def runs_of(study: Study, one: str) -> set[str]:
    """The runs whose nets a test or a fusion is of."""
    return {study.find(test).run for test in (study.fusions[one].tests if one in study.fusions else (one,))}


def wrong_of(study: Study, results: Results, one: str, seed: int) -> Bool[np.ndarray, " n"] | None:
    """Whether the first guess of a test or a fusion was wrong, for every picture; None where it is not done."""
    if one in study.fusions:
        return results.wrong(Job(one, seed))
    test = study.find(one)
    return results.wrong(Job(test.run, seed), test.protocol)
