import numpy as np
import torch

from verydeep.nets.features import features
from verydeep.pictures.resize import rescale
from verydeep.transfer.descriptors import Way
from verydeep.transfer.hypotheses import largest_scores


def by_hand(net, data, scales, weights, shift, mirror=True):
    """The largest of the scores of all windows, one by one."""
    rows = []
    for index in range(len(data)):
        scores = []
        for scale in scales:
            pixels = torch.from_numpy(rescale(data.picture(index), scale)).permute(2, 0, 1)[None]
            for shown in (pixels, pixels.flip(-1))[: 1 + mirror]:
                with torch.no_grad():
                    cells = features(net, shown, ["relu7"])["relu7"][0].flatten(1).T.numpy()
                scores += [weights @ (cell / max(np.linalg.norm(cell), 1e-12)) + shift for cell in cells]
        rows.append(np.max(scores, axis=0))
    return np.array(rows)


def test_the_largest_score_of_all_windows_is_that_of_each_window_by_hand(net, pictures):
    generator = np.random.default_rng(0)
    weights, shift = generator.normal(size=(4, 12)), generator.normal(size=4)
    for scales, mirror in (((32, 70), True), ((64,), False)):
        way, moments = Way("relu7", scales, mirror=mirror), []
        found = largest_scores(net, pictures, way, weights, shift, device="cpu", batch=3,
                               progress=lambda *moment, moments=moments: moments.append(moment))  # fmt: skip
        np.testing.assert_allclose(found, by_hand(net, pictures, scales, weights, shift, mirror), atol=1e-4)
        assert moments[-1] == (len(pictures) * len(scales),) * 2
