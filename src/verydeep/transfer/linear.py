"""Linear classifiers on descriptors: one-vs-rest support vector machines, or multinomial logistic regression.

C is chosen on a part of the training set, then all of it is trained on. Source: appendix B.
Decision: docs/decisions/112-linear-classifiers.md.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from verydeep.data.paths import printable
from verydeep.errors import TransferError
from verydeep.transfer.precision import mean_average_precision
from verydeep.transfer.recall import mean_class_recall

Kind = Literal["svm", "logistic"]
DECADES = tuple(10.0**power for power in range(-3, 4))  # of C, tried in turn
HELD_OUT = 0.2  # of the training pictures, on which C is chosen. Source: appendix B (6 of 30, 12 of 60)
ROUNDS = 2000  # of an optimiser, at most


class LinearTransfer(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A linear classifier whose C is chosen on a part of what it is fitted on.

    Args:
        kind: `svm`, a machine for every class against the rest, with squared hinge loss and L2 (scikit-learn's
            liblinear); or `logistic`, one multinomial logistic regression with L2.
        C: what a picture's loss counts beside L2; None: chosen among `Cs` by mean class recall.
        Cs: to choose from; of equally good ones the smallest is taken.
        held_out: share of the pictures, or of the groups, that C is chosen on.
        class_weight: None, or "balanced": the fewer pictures a class has, the more each counts.
        seed: of the part held out, and of the optimiser.

    Attributes:
        classes_: labels, in order.
        C_: that was chosen.
        tried_: the score of each C, where it was chosen.
        coef_: weights, a row for each class.
        intercept_: of each class.
        temperature_: that scores are divided by before the soft-max; 1 but for machines, whose scores are margins.

    Source: appendix B.
    """

    def __init__(
        self,
        kind: Any = "svm",
        *,
        C: Any = None,
        Cs: Any = DECADES,
        held_out: Any = HELD_OUT,
        class_weight: Any = None,
        seed: Any = 0,
    ) -> None:  # as scikit-learn has it, values are looked at when they are used
        self.kind, self.C, self.Cs, self.held_out = kind, C, Cs, held_out
        self.class_weight, self.seed = class_weight, seed

    def fit(self, X: Any, y: Any, groups: Any = None) -> "LinearTransfer":
        """Choose C, then fit on all.

        Args:
            X: descriptors.
            y: a label for each.
            groups: of pictures that are not held out one without the other, such as frames of a film.

        Raises:
            TransferError: the kind is unknown.
            ValueError: a descriptor holds NaN or infinity, or there is one class, as scikit-learn has it.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite=False)
        refuse_no_numbers(X)
        check_classification_targets(y)
        check_kind(self.kind)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"there is one class, {self.classes_[0]!r}: nothing to tell apart; add another class")
        held = hold_out(labels, self.held_out, self.seed, groups)
        self.tried_: dict[float, float] = {}
        self.temperature_ = 1.0
        tried = [float(C) for C in (self.Cs if self.C is None else (self.C,))]
        basis = span(X)
        inner = X if basis is None else X @ basis
        if not held.any():
            self.C_ = tried[0] if len(tried) == 1 else 1.0  # too few pictures to hold any out
        else:
            for C in tried:
                weights, shift = self._solve(inner[~held], labels[~held], C)
                scores = inner[held] @ weights.T + shift
                self.tried_[C] = mean_class_recall(labels[held], scores.argmax(axis=1))
                if self.tried_[C] > max([-1.0, *(each for c, each in self.tried_.items() if c != C)]):
                    self.C_ = C
                    self.temperature_ = temperature(scores, labels[held]) if self.kind == "svm" else 1.0
        weights, self.intercept_ = self._solve(inner, labels, self.C_)
        self.coef_ = weights if basis is None else weights @ basis.T
        return self

    def decision_function(self, X: Any) -> Float64[np.ndarray, "n ..."]:
        """Scores of each class; of two classes, how much the second has more, as scikit-learn has it."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: Any) -> Float64[np.ndarray, "n k"]:
        """Posteriors of the classes."""
        found: Float64[np.ndarray, "n k"] = softmax(self._scores(X) / self.temperature_, axis=1)
        return found

    def predict(self, X: Any) -> Any:
        """The class with the largest score, of each picture."""
        scores = self._scores(X)
        return self.classes_[scores.argmax(axis=1)]

    def _scores(self, X: Any) -> Float64[np.ndarray, "n k"]:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False, ensure_all_finite=False)
        refuse_no_numbers(X)
        scores: Float64[np.ndarray, "n k"] = X @ self.coef_.T + self.intercept_
        return scores

    def _solve(self, X: Any, labels: Int64[np.ndarray, " n"], C: float) -> tuple[Any, Any]:
        """Weights and shifts of every class, for a C."""
        places = np.arange(len(self.classes_))
        seen = np.unique(labels)
        weight = dict(zip(self.classes_, places, strict=True))
        given = self.class_weight
        if isinstance(given, dict):
            given = {weight[key]: value for key, value in given.items()}
        if len(seen) < 2:  # all that was held out was of another class
            return np.zeros((len(places), X.shape[1])), np.where(np.isin(places, seen), 0.0, -1.0)
        if self.kind == "svm":
            machine = LinearSVC(C=C, class_weight=given, random_state=self.seed, max_iter=ROUNDS, dual=dual(X.shape))
        else:
            machine = LogisticRegression(C=C, class_weight=given, random_state=self.seed, max_iter=ROUNDS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # near enough for a C that is far too large
            machine.fit(X, labels)
        weights, shift = machine.coef_, machine.intercept_
        if len(seen) == 2:  # scikit-learn has one row for both
            weights, shift = np.concatenate([-weights, weights]) / 2, np.concatenate([-shift, shift]) / 2
        whole, shifts = np.zeros((len(places), X.shape[1])), np.full(len(places), -1e3)  # of classes that were not seen
        whole[seen], shifts[seen] = weights, shift
        return whole, shifts


def check_kind(kind: Any) -> None:
    """Refuse what is no linear classifier, before pictures are described for it."""
    if kind not in get_args(Kind):
        raise TransferError(f"kind {kind!r}: is no linear classifier; use 'svm' or 'logistic'")


def refuse_one_sided(presence: Int64[np.ndarray, "n k"], classes: Sequence[str]) -> None:
    """Refuse a class that none of the pictures shows, or all: there is nothing to tell it apart by."""
    for key, column in zip(classes, presence.T, strict=True):
        if not (column == 1).any() or not (column == -1).any():
            where = "no picture" if not (column == 1).any() else "every picture"
            raise TransferError(
                f"class {printable(key)}: {where} to train on shows it; add pictures, or leave the class out"
            )


def refuse_no_numbers(X: Float64[np.ndarray, "n d"]) -> None:
    """Refuse descriptors with NaN or infinity in one line; scikit-learn has six, of other estimators."""
    bad = np.flatnonzero(~np.isfinite(X).all(axis=1))
    if len(bad):
        raise ValueError(
            f"X: {len(bad)} of {len(X)} descriptors hold NaN or infinity, the first in row {bad[0]}; leave them out, "
            "or describe the pictures anew"
        )


def span(X: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "d n"] | None:
    """An orthonormal basis of what the rows span, where they are fewer than numbers in each; else None.

    The weights of a machine with L2 lie in it, so that few pictures make a small problem of the same solution.
    """
    return np.linalg.qr(X.T).Q if len(X) < X.shape[1] else None


def dual(shape: tuple[int, ...]) -> bool:
    """Whether liblinear is faster by the dual problem: 9 s in place of 23 for 3,060 × 1,536 numbers in 102 classes."""
    images, dimensions = shape
    return images < 5 * dimensions


def hold_out(labels: Int64[np.ndarray, " n"], share: float, seed: int, groups: Any = None) -> Bool[np.ndarray, " n"]:
    """Which pictures are held out: that share of every class, but never its last group, and at most half of it.

    Args:
        labels: of the pictures.
        share: of each class.
        seed: which.
        groups: of pictures that stay together; by default each for itself.
    """
    groups = np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    generator = np.random.default_rng(seed)
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_class = generator.permutation(np.unique(groups[labels == label]))
        count = min(max(round(share * len(of_class)), int(share > 0)), len(of_class) // 2)
        held |= np.isin(groups, of_class[:count])
    gone = np.setdiff1d(labels, labels[~held])  # a group may be of several classes
    held[np.isin(labels, gone)] = False
    return held


def temperature(scores: Float64[np.ndarray, "n k"], labels: Int64[np.ndarray, " n"]) -> float:
    """What scores are to be divided by, so that the soft-max is right as often as it says, on these pictures.

    Of n pictures that are all named rightly no more is concluded than that n + 1 of n + 2 would be.

    Source: Guo et al. 2017, "On calibration of modern neural networks", section 4.2; Platt 1999, "Probabilistic outputs
    for support vector machines", section 2.2 (the targets).
    """
    images, classes = scores.shape
    due = np.full(scores.shape, 1 / (images + 2) / max(1, classes - 1))
    due[np.arange(images), labels] = (images + 1) / (images + 2)

    def loss(power: float) -> float:
        return -float((due * log_softmax(scores * np.exp(-power), axis=1)).sum() / images)

    return float(np.exp(minimize_scalar(loss, bounds=(-5, 3), method="bounded").x))


class ManyMachines:
    """A support vector machine for each class, of pictures that show any number of classes.

    Pictures in which a class is difficult to see are left out of that class's training.

    Args:
        Cs: to choose from.
        seed: of the optimiser.

    Attributes:
        C: that was chosen.

    Source: appendix B, "VOC-2007 and VOC-2012".
    """

    def __init__(self, Cs: Sequence[float] = DECADES, seed: int = 0) -> None:
        self.Cs, self.seed = tuple(Cs), seed
        self.C = self.Cs[0]

    def fit(
        self,
        descriptors: Any,
        presence: Int64[np.ndarray, "n k"],
        watched: tuple[Any, Int64[np.ndarray, "m k"]] | None = None,
        rule: str = "area",
    ) -> "ManyMachines":
        """Choose C on pictures that are watched, by default a fifth of these, then train on all of both.

        Args:
            descriptors: of the training pictures.
            presence: of each class in each: 1, -1, or 0 where it is difficult to see.
            watched: descriptors and presence of the pictures that C is chosen on. Source: appendix B.
            rule: of average precision.

        Raises:
            TransferError: a class is in none of the pictures, or in all.
        """
        refuse_one_sided(presence, [str(place) for place in range(presence.shape[1])])
        if watched is None:
            held = np.random.default_rng(self.seed).permutation(len(presence)) < HELD_OUT * len(presence)
            parts = ((descriptors[~held], presence[~held]), (descriptors[held], presence[held]))
        else:
            parts = ((descriptors, presence), watched)
        (own, shown), (others, truth) = parts
        tried = {}
        for C in self.Cs if len(self.Cs) > 1 else ():
            self._solve(own, shown, C)
            tried[C] = np.nan_to_num(mean_average_precision(self.scores(others), truth, rule))
        self.C = max(tried, key=lambda C: (tried[C], -C)) if tried else self.Cs[0]
        self._solve(np.concatenate([own, others]), np.concatenate([shown, truth]), self.C)
        return self

    def scores(self, descriptors: Any) -> Float64[np.ndarray, "n k"]:
        """Of each picture for each class."""
        found: Float64[np.ndarray, "n k"] = descriptors @ self.weights.T + self.shift
        return found

    def _solve(self, descriptors: Any, presence: Int64[np.ndarray, "n k"], C: float) -> None:
        rows, shifts = [], []
        for column in presence.T:
            known = column != 0
            if len(np.unique(column[known])) < 2:  # of the part that C is chosen with
                rows.append(np.zeros(descriptors.shape[1]))
                shifts.append(0.0)
                continue
            machine = LinearSVC(C=C, random_state=self.seed, max_iter=ROUNDS, dual=dual(descriptors.shape))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                machine.fit(descriptors[known], column[known])
            rows.append(machine.coef_[0])
            shifts.append(machine.intercept_[0])
        self.weights, self.shift = np.array(rows), np.array(shifts)
