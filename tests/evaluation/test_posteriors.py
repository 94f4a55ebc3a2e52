import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from verydeep.errors import DatasetError, DeviceError, NetError, PosteriorsError, ProtocolError, WeightsError
from verydeep.evaluation.posteriors import Posteriors, posteriors

SHAPES = [(40, 50), (33, 80), (40, 50), (70, 35), (50, 40), (32, 32), (40, 51)]


def test_posteriors_depend_neither_on_order_nor_on_groups_nor_on_threads(make_net, make_data):
    net, data = make_net(), make_data(SHAPES)
    found = posteriors(net, data, "dense@32,48", device="cpu").values
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    order = [3, 0, 6, 2, 5, 1, 4]
    shuffled = replace(data.subset(order), pictures=tuple(data.pictures[i] for i in order))
    np.testing.assert_allclose(posteriors(net, shuffled, "dense@32,48", device="cpu").values, found[order], rtol=1e-5)
    for batch, threads in ((1, 1), (2, 3), (1000, 2)):
        again = posteriors(net, data, "dense@32,48", device="cpu", batch=batch, threads=threads).values
        np.testing.assert_allclose(again, found, rtol=1e-5)


def test_posteriors_are_the_same_to_the_bit_when_measured_again(make_net, make_data):
    one, other = (posteriors(make_net(), make_data(SHAPES), "dense@32,48", device="cpu", threads=3) for _ in range(2))
    assert one.values.tobytes() == other.values.tobytes()


def test_a_net_is_tested_in_eval_mode_and_left_in_the_modes_that_it_had(make_net, make_data):
    class Watched(type(make_net())):
        def score_map(self, pixels):
            assert not any(part.training for part in self.modules())
            return super().score_map(pixels)

    net = Watched().train()
    net.add_module("fixed", torch.nn.Dropout().eval())
    net.add_module("loose", torch.nn.Dropout())
    posteriors(net, make_data([(32, 32)]), "centre@32", device="cpu")
    assert net.training
    assert net.loose.training
    assert not net.fixed.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_progress_ends_with_all_pictures(make_net, make_data):
    calls = []
    posteriors(
        make_net(), make_data(SHAPES), "dense@32,33,48", device="cpu", batch=1, progress=lambda *c: calls.append(c)
    )
    assert calls == sorted(calls)
    assert calls[-1] == (len(SHAPES), len(SHAPES))


@pytest.mark.parametrize(
    "shortage",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("could not create a primitive"),
    ],
)
def test_where_memory_runs_out_fewer_go_through_the_net_from_then_on(make_net, make_data, shortage):
    class Large(type(make_net())):
        def score_map(self, pixels):
            if len(pixels) > 3:
                self.shown.append("too many")
                raise shortage
            return super().score_map(pixels)

    net, data = Large(), make_data([(32, 32)] * 24)
    found = posteriors(net, data, "dense@32", device="cpu", batch=16)
    np.testing.assert_allclose(found.values, posteriors(make_net(), data, "dense@32", device="cpu").values, rtol=1e-5)
    assert net.shown[:2] == ["too many", "too many"]  # 16, then 8, then 4, which is still too many
    assert net.shown.count("too many") == 3


def test_too_little_memory_for_one_view_is_said(make_net, make_data):
    class Huge(type(make_net())):
        def score_map(self, pixels):
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")

    with pytest.raises(DeviceError, match=r"sliding: cpu has too little memory for a view of 60 × 40 px; use smaller"):
        posteriors(Huge(), make_data([(40, 60)]), "dense@40", device="cpu")


def test_another_failure_of_a_net_keeps_its_traceback(make_net, make_data):
    class Broken(type(make_net())):
        def score_map(self, pixels):
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        posteriors(Broken(), make_data([(40, 60)]), "dense@40", device="cpu")


def test_scores_that_are_no_numbers_name_the_net_and_the_picture(make_net, make_data):
    net = make_net()
    with torch.no_grad():
        net.bias[2] = float("nan")
    with pytest.raises(NetError, match=r"^sliding: its scores of 0\.png are no numbers"):
        posteriors(net, make_data([(32, 32)]), "centre@32", device="cpu")


def test_a_net_with_other_outputs_than_classes_is_refused(make_net, make_data):
    net = make_net()
    net.classes = ("a", "b")
    with pytest.raises(NetError, match=r"sliding: gives scores of shape \(1, 7\) where its classes make it \(1, 2\)"):
        posteriors(net, make_data([(32, 32)], "ab"), "centre@32", device="cpu")


def test_an_empty_data_set_and_a_scale_below_the_crop_are_refused(make_net, make_data):
    with pytest.raises(DatasetError, match="made: has no pictures in split val"):
        posteriors(make_net(), make_data([]), "dense", device="cpu")
    with pytest.raises(ProtocolError, match="dense@31: 31 px is less than the crop of sliding, 32 px; use 32 or more"):
        posteriors(make_net(), make_data([(32, 32)]), "dense@31", device="cpu")


def test_labels_follow_the_classes_of_the_net_by_key(make_net, make_data):
    data = make_data([(32, 32)] * 4, classes="gb", labels=[0, 1, -1, 0])
    assert posteriors(make_net(), data, "centre@32", device="cpu").labels.tolist() == [6, 1, -1, 6]
    data = make_data([(32, 32)] * 4, classes="gz")
    assert posteriors(make_net(), data, "centre@32", device="cpu").labels is None


def test_the_best_classes_come_in_order_and_of_equal_ones_the_first(some):
    equal = replace(some, values=np.array([[0.1, 0.3, 0.3, 0.2, 0.1]] * 3, np.float32))
    assert [key for key, _ in equal.best(0, 4)] == ["b", "c", "d", "a"]


# Files.


@pytest.fixture
def some():
    generator = np.random.default_rng(0)
    values = generator.dirichlet(np.ones(5), 3).astype(np.float32)
    images = ("a b/ü.jpg", "x\udc80.jpg", "3")  # a name that is no UTF-8 comes from Python's file system calls so
    labels = np.array([4, -1, 0])
    return Posteriors(values, images, tuple("abcde"), labels, "vgg-a", "w", "made", "val", "dense@256", 1.5)


@pytest.mark.parametrize("labelled", [True, False])
def test_posteriors_are_read_back_as_they_were_written(some, labelled, tmp_path):
    if not labelled:
        some = replace(some, labels=None)
    some.save(tmp_path / "p.safetensors")
    found = Posteriors.load(tmp_path / "p.safetensors")
    for name in Posteriors.__dataclass_fields__:
        one, other = getattr(found, name), getattr(some, name)
        assert np.array_equal(one, other) if isinstance(other, np.ndarray) else one == other
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.safetensors"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    values = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    saved = Posteriors(values, ("1", "2"), ("a", "b"), None, "vgg-a", "w", "made", "val", "dense@256", 1.5)
    saved.save(tmp_path_factory.mktemp("sound") / "p.safetensors")
    return saved, next(tmp_path_factory.getbasetemp().glob("sound*/p.safetensors"))


@settings(max_examples=300, deadline=None)
@given(where=st.integers(min_value=0), what=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_is_refused_by_name_or_says_the_same(sound, where, what, cut):
    saved, sound_path = sound
    path = sound_path.with_name("damaged.safetensors")
    content = bytearray(sound_path.read_bytes())
    where %= len(content)
    if cut:
        del content[where:]
    else:
        content[where] ^= what
    path.write_bytes(content)
    try:
        found = Posteriors.load(path)
    except PosteriorsError as error:
        line = str(error)
    else:  # where torch's version stands, or a space that nobody reads
        assert np.array_equal(found.values, saved.values)
        assert found.images == saved.images
        return
    assert line.startswith(f"{path}: ")
    assert "\n" not in line


def test_files_that_are_not_of_posteriors_are_refused(some, tmp_path):
    path = tmp_path / "p.safetensors"
    with pytest.raises(PosteriorsError, match=r"p\.safetensors: no such file of posteriors"):
        Posteriors.load(path)
    with pytest.raises(PosteriorsError, match="is not a whole file of posteriors"):
        Posteriors.load(tmp_path)
    path.write_text("{}")
    with pytest.raises(PosteriorsError, match="is not a whole file of posteriors"):
        Posteriors.load(path)
    for metadata in (None, {"verydeep": "[]"}, {"verydeep": '{"kind": "net"}'}):
        save_file({"values": some.values}, path, metadata)
        with pytest.raises(PosteriorsError, match="is not a file of posteriors; give one"):
            Posteriors.load(path)
    save_file({"values": some.values}, path, {"verydeep": "[" * 100_000})
    with pytest.raises(PosteriorsError, match="is not a whole file of posteriors"):
        Posteriors.load(path)


def test_sizes_that_do_not_agree_are_said_before_anything_is_read(some, tmp_path):
    path = tmp_path / "p.safetensors"
    some.save(path)
    manifest = {key: getattr(some, key) for key in ("images", "classes", "net", "weights", "data", "split", "protocol")}
    manifest |= {"seconds": 1.5, "kind": "posteriors 1"}
    for arrays, what in (
        ({"values": some.values[:2]}, r"\{'values': \('F32', 2, 5\)\} for 3 images and 5 classes"),
        ({"values": some.values.astype(np.float64)}, "F64"),
        ({"values": some.values, "labels": some.labels[:1]}, "I64"),
        ({"values": some.values, "more": some.labels}, "more"),
        ({"labels": some.labels}, "I64"),
    ):
        save_file(arrays, path, {"verydeep": json.dumps(manifest)})
        with pytest.raises(PosteriorsError, match=what):
            Posteriors.load(path)
    del manifest["net"]
    save_file({"values": some.values}, path, {"verydeep": json.dumps(manifest)})
    with pytest.raises(PosteriorsError, match="its manifest has no net; evaluate again"):
        Posteriors.load(path)


def test_a_file_that_cannot_be_written_leaves_nothing(some, tmp_path):
    with pytest.raises(WeightsError, match="cannot be written"):
        some.save(tmp_path / "no folder" / "p.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_net_whose_layers_are_not_known_cannot_be_seen_finer(make_net, make_data):
    with pytest.raises(NetError, match="sliding: has no last pool that is known here to lay at every offset"):
        posteriors(make_net(), make_data([(60, 60)]), "fine@40")
