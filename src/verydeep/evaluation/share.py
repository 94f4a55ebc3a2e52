"""Protocols that have tests in common → each test once, and the protocols as means of them.

Dense testing at three scales is the mean of dense tests at each of them, and dense and multi-crop together the mean of
the two, so that a table of all protocols takes half of what they take one by one, and also says what each scale gives.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from verydeep.evaluation.outcome import ROWS
from verydeep.evaluation.posteriors import Posteriors
from verydeep.evaluation.protocol import Protocol

BY_SCALE = {"dense", "multi-crop"}  # whose scales all have equally many views, and so count alike

Shares = Mapping[Protocol, float]  # of tests in a mean, 1 in all


def shared_tests(protocols: Sequence[Protocol]) -> dict[Protocol, Shares]:
    """Of each protocol the tests that it is the mean of: itself alone, unless it has one in common with another."""
    single = {protocol: single_tests(protocol) for protocol in protocols}
    wanted = Counter(test for shares in single.values() for test in shares)
    return {
        protocol: shares if any(wanted[test] > 1 for test in shares) else {protocol: 1.0}
        for protocol, shares in single.items()
    }


def single_tests(protocol: Protocol) -> Shares:
    """The tests at one scale, in one way of looking, that a protocol is the mean of, with their shares."""
    if protocol.takes_largest:  # which is no mean
        return {protocol: 1.0}
    shares: dict[Protocol, float] = {}
    for weight, term in protocol.weighted:
        scales = term.scales if term.name in BY_SCALE else ()
        tests = [replace(term, scales=(scale,)) for scale in scales] or [term]
        for test in tests:
            shares[test] = shares.get(test, 0.0) + weight / len(tests)
    total = sum(shares.values())
    return {test: share / total for test, share in shares.items()}


class Mean:
    """The posteriors of a protocol, put together from those of its tests as these come in.

    Attributes:
        protocol: the protocol.
        missing: the tests that have not come yet.
    """

    def __init__(self, protocol: Protocol, shares: Shares) -> None:
        self.protocol, self.missing = protocol, dict(shares)
        self.values: Float32[np.ndarray, "n k"] | None = None
        self.seconds = 0.0

    def add(self, test: Protocol, said: Posteriors) -> Posteriors | None:
        """Take in a test if it is one of the protocol's; the posteriors of the protocol with the last of them."""
        share = self.missing.pop(test, None)
        if share is None:
            return None
        if self.values is None:
            self.values = np.zeros_like(said.values)
        for start in range(0, len(self.values), ROWS):
            self.values[start : start + ROWS] += np.float32(share) * said.values[start : start + ROWS]
        self.seconds += said.seconds
        if self.missing:
            return None
        return replace(said, values=self.values, protocol=self.protocol.text, seconds=self.seconds, made_of={})
