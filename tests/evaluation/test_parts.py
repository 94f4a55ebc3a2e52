import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from verydeep.data.open import open_dataset
from verydeep.errors import NetError, PosteriorsError
from verydeep.evaluation import parts
from verydeep.evaluation.posteriors import Posteriors, posteriors
from verydeep.evaluation.protocol import Protocol, parse
from verydeep.nets.registry import create_net
from verydeep.pictures.preset import OURS
from verydeep.pictures.views import View
from verydeep.weights.files import load, save

SHAPES = [(40, 50), (33, 80), (40, 50), (70, 35), (50, 40), (32, 32), (40, 51), (64, 64), (32, 90)]
PROTOCOL = "dense+multi-crop@32,48"


class Killed(Exception):
    """What ends a test here, in place of a signal."""


@pytest.fixture
def interrupted(make_net, make_data, tmp_path, monkeypatch):
    """A file of posteriors whose test ended after some of its pictures, with a part for each group of views."""
    monkeypatch.setattr(parts, "EVERY", 0.0)
    file = tmp_path / "new folder" / "p.safetensors"
    kill(make_net(), make_data(SHAPES), file, after=5)
    assert 1 < len(list(file.with_name("p.safetensors.parts").iterdir())) < len(SHAPES)
    return file


def kill(net, data, file, after, protocol=PROTOCOL):
    def progress(done, of):
        if done >= after:
            raise Killed

    with pytest.raises(Killed):
        take_test(net, data, file, protocol, progress=progress)


def take_test(net, data, file, protocol=PROTOCOL, **more):
    return posteriors(net, data, protocol, device="cpu", batch=4, threads=1, file=file, **more)


def assert_finished(found, net, data, file, protocol=PROTOCOL):
    """The file is whole, nothing else lies beside it, and it says what an uninterrupted test says."""
    straight = posteriors(net, data, protocol, device="cpu", batch=4, threads=1)
    np.testing.assert_allclose(found.values, straight.values, rtol=1e-5, atol=1e-7)
    assert Posteriors.load(file).values.tobytes() == found.values.tobytes()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_test_goes_on_from_its_parts_and_shows_no_finished_picture_again(interrupted, make_net, make_data):
    net, data, remarks, calls = make_net(), make_data(SHAPES), [], []
    found = take_test(net, data, interrupted, remark=remarks.append, progress=lambda *call: calls.append(call))
    assert len(remarks) == 1
    assert remarks[0].startswith(f"{interrupted}.parts: ")
    assert remarks[0].endswith(" of 9 pictures are done")
    assert 1 <= calls[0][0] - 1 <= 9
    shown = sum(shape[0] for shape in net.shown)
    straight = make_net()
    take_test(straight, data, interrupted.with_name("other.safetensors"))
    assert 0 < shown < sum(shape[0] for shape in straight.shown)
    interrupted.with_name("other.safetensors").unlink()
    assert_finished(found, make_net(), data, interrupted)


def test_a_whole_file_of_the_same_is_not_made_again(make_net, make_data, tmp_path):
    file, data, remarks = tmp_path / "p.safetensors", make_data(SHAPES), []
    found = take_test(make_net(), data, file)
    assert_finished(found, make_net(), data, file)
    net = make_net()
    again = take_test(net, data, file, remark=remarks.append)
    assert net.shown == []
    assert again.values.tobytes() == found.values.tobytes()
    assert remarks == [f"{file}: is there already, of the same weights, pictures and views"]


@pytest.mark.parametrize("what", ["weights", "pictures", "views", "weights and pictures and views"])
@pytest.mark.parametrize("whole", [False, True])
def test_what_was_made_of_something_else_is_made_anew_with_a_remark(interrupted, make_net, make_data, what, whole):
    net, data, protocol, remarks = make_net(), make_data(SHAPES), PROTOCOL, []
    if whole:
        take_test(net, data, interrupted)
    if "weights" in what:
        with torch.no_grad():
            net.bias[3] += 1
    if "pictures" in what:
        data = replace(data, labels=data.labels[::-1].copy())
    if "views" in what:
        protocol = "dense@32,48"
    found = take_test(net, data, interrupted, protocol, remark=remarks.append)
    ending = "it is made anew" if whole else "its pictures are tested again"
    assert remarks
    for remark in remarks:
        assert remark.endswith(f": was made of other {what}; {ending}")
        assert "\n" not in remark
    assert_finished(found, net, data, interrupted, protocol)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(min_value=0), what=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_part_is_thrown_away_with_a_remark(interrupted, make_net, make_data, where, what, cut):
    made_of = parts.origin(make_net(), make_data(SHAPES), parse(PROTOCOL, 32), OURS)
    sound = min(interrupted.with_name("p.safetensors.parts").iterdir())
    damaged = interrupted.with_name("damaged.safetensors.parts") / sound.name
    content = bytearray(sound.read_bytes())
    if cut:
        del content[where % len(content) :]
    else:
        content[where % len(content)] ^= what
    damaged.parent.mkdir(exist_ok=True)
    damaged.write_bytes(content)
    values, remarks = np.zeros((len(SHAPES), 7), np.float32), []
    done = parts.Parts(interrupted.with_name("damaged.safetensors"), made_of, *values.shape).read(
        values, remarks.append
    )
    assert len(remarks) == 1
    assert "\n" not in remarks[0]
    if done.any():  # it was a space that nobody reads
        held = {name: tensor.numpy() for name, tensor in load(sound)[0].items()}
        assert np.array_equal(values[held["images"]], held["values"])
    else:
        assert remarks[0].startswith(f"{damaged}: ")
        assert remarks[0].endswith("; its pictures are tested again")
        assert not damaged.exists()
        assert not values.any()


def test_what_a_machine_that_lost_its_power_left_is_removed(interrupted, make_net, make_data):
    folder = interrupted.with_name("p.safetensors.parts")
    first, *_ = sorted(folder.iterdir())
    first.write_bytes(first.read_bytes()[:100])
    (folder / ".000009.safetensors.part").write_bytes(b"half")
    net, data, remarks = make_net(), make_data(SHAPES), []
    found = take_test(net, data, interrupted, remark=remarks.append)
    assert [remark.partition(": ")[0] for remark in remarks] == [str(first), str(folder)]
    assert_finished(found, net, data, interrupted)


def test_parts_that_are_not_of_posteriors_are_tested_again(interrupted, make_net, make_data):
    folder, remarks = interrupted.with_name("p.safetensors.parts"), []
    first, second, *_ = sorted(folder.iterdir())
    save(first, {"values": torch.zeros(1)}, {"kind": "net"})
    made_of = parts.origin(make_net(), make_data(SHAPES), parse(PROTOCOL, 32), OURS)
    save(second, {"images": torch.tensor([99]), "values": torch.zeros(1, 7)}, {"kind": parts.KIND, "made_of": made_of})
    found = take_test(make_net(), make_data(SHAPES), interrupted, remark=remarks.append)
    assert remarks[0] == f"{first}: is not a part of posteriors; its pictures are tested again"
    assert remarks[1] == f"{second}: does not hold what it should; its pictures are tested again"
    assert_finished(found, make_net(), make_data(SHAPES), interrupted)


def test_a_damaged_whole_file_is_made_anew(make_net, make_data, tmp_path):
    file, data, remarks = tmp_path / "p.safetensors", make_data(SHAPES), []
    take_test(make_net(), data, file)
    file.write_bytes(file.read_bytes()[:-9])
    found = take_test(make_net(), data, file, remark=remarks.append)
    assert remarks[0].startswith(f"{file}: is not a whole file of posteriors")
    assert remarks[0].endswith("; it is made anew")
    assert_finished(found, make_net(), data, file)


def test_the_order_of_the_classes_is_one_of_the_weights(make_net, make_data):
    one, other = make_net(), make_net()
    other.classes = tuple("gfedcba")
    made_of = [parts.origin(net, make_data(SHAPES), parse(PROTOCOL, 32), OURS) for net in (one, make_net(), other)]
    assert made_of[0] == made_of[1]
    assert parts.differences(made_of[0], made_of[2]) == "weights"


def test_a_way_of_looking_is_told_by_what_it_shows_not_by_its_name(make_net, make_data):
    def protocol(top):
        return Protocol("mine", (32,), mirror=True, look=lambda height, width, crop: [View(top, 0, crop, crop)])

    made_of = [parts.origin(make_net(), make_data([(32, 32)]), protocol(0), OURS) for _ in range(2)]
    assert made_of[0] == made_of[1]
    wide = [View(0, 0, 32, 32), View(0, 5, 32, 32)]
    other = Protocol("mine", (32,), mirror=True, look=lambda height, width, crop: wide[: 1 + (width > 40)])
    made_of.append(parts.origin(make_net(), make_data([(32, 32)]), other, OURS))
    assert parts.differences(made_of[0], made_of[2]) == "views"


def test_other_files_in_the_folder_of_the_parts_are_left_alone(interrupted, make_net, make_data):
    theirs = interrupted.with_name("p.safetensors.parts") / "mine.safetensors"
    theirs.write_text("mine")
    take_test(make_net(), make_data(SHAPES), interrupted)
    assert [path.name for path in theirs.parent.iterdir()] == ["mine.safetensors"]
    assert theirs.read_text() == "mine"


def test_a_place_where_nothing_can_be_written_is_said_before_anything_is_shown(make_net, make_data, tmp_path):
    (tmp_path / "file").touch()
    net = make_net()
    with pytest.raises(
        PosteriorsError, match=r"file/p\.safetensors: cannot be written there \(Not a directory\); give"
    ):
        take_test(net, make_data(SHAPES), tmp_path / "file" / "p.safetensors")
    assert net.shown == []


def test_seconds_are_those_of_all_sittings(interrupted, make_net, make_data):
    before = sum(load(path)[1]["seconds"] for path in interrupted.with_name("p.safetensors.parts").iterdir())
    found = take_test(make_net(), make_data(SHAPES), interrupted)
    assert found.seconds > before > 0


SLOWLY = """
import sys, time
from verydeep.evaluation import parts
from verydeep.evaluation.posteriors import posteriors
from verydeep.data.open import open_dataset
from verydeep.nets.registry import create_net
import torch

parts.EVERY = 0.0
torch.manual_seed(0)
net = create_net("vgg-a", width=0.02, crop=32, hidden=8, classes="abc")
posteriors(net, open_dataset(sys.argv[1]), "dense+multi-crop@40", device="cpu", batch=8, threads=1, file=sys.argv[2],
           progress=lambda done, of: time.sleep(0.05))
"""


@pytest.fixture
def photos(tmp_path):
    """Pictures of odd shapes in class folders."""
    generator = np.random.default_rng(0)
    for i in range(60):
        path = tmp_path / "photos" / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (*generator.integers(30, 90, 2), 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


@pytest.mark.slow
def test_a_killed_test_goes_on(photos, tmp_path):
    file = tmp_path / "found" / "p.safetensors"
    folder = tmp_path / "found" / "p.safetensors.parts"
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, photos, file])
    try:
        end = time.monotonic() + 120
        while len(list(folder.glob("*.safetensors"))) < 4 and time.monotonic() < end:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not file.exists()
    torch.manual_seed(0)
    net, data = create_net("vgg-a", width=0.02, crop=32, hidden=8, classes="abc"), open_dataset(photos)
    remarks = []
    found = posteriors(net, data, "dense+multi-crop@40", device="cpu", batch=8, file=file, remark=remarks.append)
    (remark,) = remarks
    assert 0 < int(remark.split()[1]) < len(data)
    assert_finished(found, net, data, file, "dense+multi-crop@40")


def test_scores_that_are_no_numbers_are_in_no_part(make_net, make_data, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "EVERY", 0.0)
    net = make_net()
    with torch.no_grad():
        net.bias[2] = float("nan")
    with pytest.raises(NetError, match="are no numbers"):
        take_test(net, make_data(SHAPES), tmp_path / "p.safetensors")
    assert list((tmp_path / "p.safetensors.parts").iterdir()) == []
