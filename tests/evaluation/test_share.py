import numpy as np
import pytest

from verydeep.evaluation.posteriors import posteriors
from verydeep.evaluation.protocol import parse
from verydeep.evaluation.share import Mean, shared_tests, single_tests


def read(*texts):
    return [parse(text, crop=32) for text in texts]


def texts(shares):
    return {test.text: pytest.approx(share) for test, share in shares.items()}


def test_a_protocol_is_the_mean_of_its_scales_and_ways_of_looking():
    both, weighted, centre, spp = read(
        "dense+multi-crop@32,40", "3*dense@32,40,48 + centre@40", "centre@40", "spp-96@32,40"
    )
    assert texts(single_tests(both)) == {
        "dense@32": 0.25, "dense@40": 0.25, "multi-crop@32": 0.25, "multi-crop@40": 0.25
    }  # fmt: skip
    assert texts(single_tests(weighted)) == {"dense@32": 0.25, "dense@40": 0.25, "dense@48": 0.25, "centre@40": 0.25}
    assert texts(single_tests(centre)) == {"centre@40": 1}
    assert texts(single_tests(spp)) == {"spp-96@32,40": 1}  # whose scales do not count alike
    (largest,) = read("dense@32,40+hcp")
    assert texts(single_tests(largest)) == {"dense@32,40+hcp": 1}  # a maximum is no mean of others


def test_only_what_is_common_is_tested_by_itself():
    protocols = read("centre@40", "dense@40", "dense@32,40,48", "multi-crop@32,40")
    shared = shared_tests(protocols)
    assert list(shared) == protocols
    assert [len(shares) for shares in shared.values()] == [1, 1, 3, 1]
    assert texts(shared[protocols[3]]) == {"multi-crop@32,40": 1}
    assert texts(shared_tests(read("dense@32,40", "dense@48"))[read("dense@32,40")[0]]) == {"dense@32,40": 1}


@pytest.mark.parametrize(
    "text", ["dense@32,40,48", "multi-crop@32,40", "dense+multi-crop@32,48", "2*dense@40-mirror + ten-crop@40"]
)
def test_the_mean_of_its_tests_is_the_protocol(make_net, make_data, text):
    net, data = make_net(), make_data([(40, 50), (33, 80), (70, 35)])
    (protocol,) = read(text)
    mean = Mean(protocol, single_tests(protocol))
    assert mean.add(parse("spp-96", crop=32), posteriors(net, data, "centre", device="cpu")) is None  # not one of its
    seconds = 0.0
    for test in single_tests(protocol):
        assert mean.missing
        said = posteriors(net, data, test, device="cpu")
        seconds += said.seconds
        whole = mean.add(test, said)
    assert not mean.missing
    np.testing.assert_allclose(whole.values, posteriors(net, data, protocol, device="cpu").values, atol=1e-6)
    assert whole.protocol == protocol.text
    assert whole.seconds == pytest.approx(seconds)
