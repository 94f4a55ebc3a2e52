import math
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from verydeep.errors import DeviceError, ProtocolError
from verydeep.evaluation.posteriors import posteriors
from verydeep.evaluation.room import UNWATCHED, bytes_per_pixel, make_room
from verydeep.nets.registry import create_net

CPU = torch.device("cpu")


def test_a_pixel_of_a_net_of_the_paper_takes_four_times_what_its_first_block_holds():
    for width, crop in ((1 / 4, 64), (1 / 16, 96)):
        net = create_net("vgg-d", width=width, crop=crop, hidden=8).eval()
        channels = round(64 * width)
        assert bytes_per_pixel(net, CPU) == 4 * (channels + channels) * 4  # into conv1_2 and out of it, 4 bytes each


def test_a_net_whose_layers_cannot_be_watched_is_taken_for_a_wide_one():
    class Sealed(nn.Module):
        name, crop, classes = "sealed", 32, ("a",)

        def __init__(self):
            super().__init__()
            self.unused = nn.Identity()

        def forward(self, pixels):
            return pixels.float().mean((1, 2, 3))[:, None]

        def score_map(self, pixels):
            return self(pixels)[..., None, None]

    assert bytes_per_pixel(Sealed(), CPU) == UNWATCHED


def test_a_limit_makes_groups_smaller_never_larger(make_net):
    net = make_net().eval()
    usual = make_room(net, CPU).pixels
    assert make_room(net, CPU, memory=1000.0).pixels == usual
    assert make_room(net, CPU, batch=3, memory=1000.0).pixels == 3 * 32**2
    small = make_room(net, CPU, memory=0.0001).pixels
    assert 1 <= small < usual
    assert small == pytest.approx(1e5 / bytes_per_pixel(net, CPU), abs=1)
    assert make_room(net, CPU, memory=1e-12).pixels == 1


@pytest.mark.parametrize("memory", [0.0, -1.0, math.nan])
def test_a_limit_is_above_zero(make_net, memory):
    with pytest.raises(DeviceError, match=r"is not a limit; give gigabytes, such as 2 or 0\.5"):
        make_room(make_net(), CPU, memory=memory)


def test_posteriors_are_the_same_within_any_limit(make_net, make_data):
    data = make_data([(40, 50), (33, 80), (40, 50), (32, 32)] * 3)
    nets = make_net(), make_net()
    free, limited = (
        posteriors(net, data, "dense+ten-crop@32,48", device="cpu", memory=memory).values
        for net, memory in zip(nets, (None, 0.0002), strict=True)
    )
    np.testing.assert_allclose(limited, free, rtol=1e-5)
    largest = [max(shape[0] * shape[2] * shape[3] for shape in net.shown[1:]) for net in nets]
    assert largest[1] < largest[0]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
@pytest.mark.slow
def test_where_memory_really_runs_out_the_test_goes_on():
    program = """
        import resource
        import numpy as np
        import torch
        from verydeep.data.dataset import PictureArray
        from verydeep.evaluation.posteriors import posteriors
        from verydeep.nets.registry import create_net
        from pathlib import Path

        torch.manual_seed(0)
        torch.set_num_threads(1)
        net = create_net("vgg-a", width=0.25, crop=64, hidden=8, classes="ab")
        pixels = np.random.default_rng(0).integers(0, 256, (400, 64, 64, 3), np.uint8)
        data = PictureArray(kind="made", root=Path("made"), split="val", classes=("a", "b"), names={},
                            images=list(map(str, range(400))), labels=np.zeros(400, np.int64), pixels=pixels)
        sizes = []
        net.register_forward_pre_hook(lambda net, pixels: sizes.append(len(pixels[0])))
        held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (held + (150 << 20), resource.RLIM_INFINITY))
        tight = posteriors(net, data, "centre@64", device="cpu", batch=400, threads=1).values
        print(*sizes)
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        free = posteriors(net, data, "centre@64", device="cpu", batch=20, threads=1).values
        np.testing.assert_allclose(tight, free, rtol=1e-4)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second, *others = map(int, done.stdout.split())
    assert (first, second) == (400, 200)
    assert all(size <= 200 for size in others)


def test_a_net_without_a_score_map_is_refused_whole_pictures_and_takes_crops(make_net, make_data):
    net, data = make_net(), make_data([(40, 50)])
    net.no_score_map = "its positions are fixed"
    for protocol in ("dense", "dense+multi-crop@32,40", "spp-96+2"):
        with pytest.raises(
            ProtocolError, match=r"sliding has no score map \(its positions are fixed\); use a protocol of"
        ):
            posteriors(net, data, protocol, device="cpu")
    assert net.shown == []
    assert posteriors(net, data, "googlenet-144", device="cpu").values.sum() == pytest.approx(1, abs=1e-5)
