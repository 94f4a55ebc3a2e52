import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from verydeep.errors import WeightsError
from verydeep.weights.files import check_fit, load, put, save, write_atomically

TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool]
TENSORS = {"a": torch.arange(12.0).view(3, 4), "b": torch.tensor(7), "c": torch.zeros(0, 2)}
CARD = {"net": "vgg-a", "classes": ["käse", "n01440764"], "errors": {"centre": [0.25, None]}}


def listed(tensors):
    return {name: tensor.tolist() for name, tensor in tensors.items()}


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "some.safetensors"
    save(path, TENSORS, CARD)
    return path


def one_line(error):
    return "\n" not in str(error.value) and str(error.value).isprintable()


@settings(deadline=None, max_examples=40)
@given(
    shapes=st.dictionaries(
        st.text(st.characters(categories=["L", "N"]), min_size=1), st.lists(st.integers(0, 3), max_size=4), max_size=4
    ),
    kind=st.sampled_from(TYPES),
    card=st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)),
)
def test_tensors_and_card_come_back_to_the_bit(tmp_path_factory, shapes, kind, card):
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randint(0, 2, shape, generator=generator).to(kind) for name, shape in shapes.items()}
    path = tmp_path_factory.mktemp("written") / "some.safetensors"
    save(path, tensors, card)
    found, found_card = load(path)
    assert found_card == card
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == kind
        assert torch.equal(found[name], tensor)


def test_what_is_not_a_number_and_what_is_not_contiguous_come_back(tmp_path):
    strange = torch.tensor([[float("nan"), float("inf")], [-0.0, 1e-45]])
    save(tmp_path / "some.safetensors", {"t": strange.T, "columns": strange[:, 1]}, {})
    found, _ = load(tmp_path / "some.safetensors")
    assert found["t"].view(torch.int32).tolist() == strange.view(torch.int32).T.tolist()
    assert found["columns"].tolist() == strange[:, 1].tolist()


def test_a_file_cut_anywhere_is_refused_by_name(written):
    content = written.read_bytes()
    for length in range(len(content)):
        written.write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"some\.safetensors: ") as error:
            load(written)
        assert one_line(error)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), other=st.binary(min_size=1, max_size=9))
def test_no_file_with_other_bytes_passes_for_another(written, data, other):
    content = written.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    damaged = written.with_name("damaged.safetensors")
    damaged.write_bytes(content[:place] + other + content[place + len(other) :])
    try:
        tensors, card = load(damaged)
    except WeightsError as refusal:
        line = str(refusal)
    else:  # the bytes were the same, or spaces
        assert (listed(tensors), card) == (listed(TENSORS), CARD)
        return
    assert line.startswith(f"{damaged}: ")
    assert "\n" not in line


def test_a_flipped_bit_of_a_weight_is_noticed(written):
    content = bytearray(written.read_bytes())
    content[-1] ^= 1
    written.write_bytes(content)
    with pytest.raises(WeightsError, match=r"its checksum is another\); copy it again"):
        load(written)


def header(entries):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


FLOATS = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
LIES = {
    "empty": b"",
    "text": b"It was a dark and stormy night; the rain fell in torrents.",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "huge header": (2**63).to_bytes(8, "little") + b"{}",
    "header longer than the file": (10**6).to_bytes(8, "little") + b"{}",
    "header that is a list": header([1, 2]) + bytes(8),
    "no data": header({"t": FLOATS}),
    "too little data": header({"t": FLOATS}) + bytes(7),
    "more shape than data": header({"t": FLOATS | {"shape": [10**9]}}) + bytes(8),
    "endless shape": header({"t": FLOATS | {"shape": [2**62, 2**62]}}) + bytes(8),
    "offsets that go back": header({"t": FLOATS | {"data_offsets": [8, 0]}}) + bytes(8),
    "unknown type": header({"t": FLOATS | {"dtype": "F7"}}) + bytes(8),
    "no card": header({"t": FLOATS}) + bytes(8),
    "card that is not JSON": header({"t": FLOATS, "__metadata__": {"verydeep": "{"}}) + bytes(8),
    "card that is a list": header({"t": FLOATS, "__metadata__": {"verydeep": "[]"}}) + bytes(8),
    "bottomless card": header({"t": FLOATS, "__metadata__": {"verydeep": "[" * 10**5}}) + bytes(8),
    "card with a number without end": header({"t": FLOATS, "__metadata__": {"verydeep": "9" * 10**4}}) + bytes(8),
    "rare type": header({"t": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]},
                         "__metadata__": {"verydeep": "{}", "sha256": "0"}}) + bytes(2),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused_in_a_line_that_names_it(tmp_path, lie):
    path = tmp_path / "lie.safetensors"
    path.write_bytes(LIES[lie])
    with pytest.raises(WeightsError, match=r"lie\.safetensors: .*; ") as error:
        load(path)
    assert one_line(error)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="none: no such file of weights"):
        load(tmp_path / "none")
    with pytest.raises(WeightsError, match="is not a whole safetensors file"):
        load(tmp_path)


def test_a_file_of_others_is_told_from_ours(tmp_path):
    save_file({"t": torch.zeros(2)}, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="has no card of verydeep"):
        load(tmp_path / "theirs.safetensors")


FILL = """
import resource
import sys
from pathlib import Path
import torch
from verydeep.errors import WeightsError
from verydeep.weights.files import save, write_atomically

path = Path(sys.argv[1])
for room in (0, 100, 100_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    for write in (lambda: save(path, {"t": torch.ones(10**6)}, {}), lambda: write_atomically(path, bytes(10**6))):
        try:
            write()
        except WeightsError as error:
            print(error)
"""


def test_a_full_disk_leaves_the_old_file_whole(written):
    before = written.read_bytes()
    command = [sys.executable, "-c", FILL, str(written)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 3 * 2
    for line in lines:
        assert line.startswith(f"{written}: cannot be written (")
        assert line.endswith("; nothing was changed")
    assert written.read_bytes() == before
    assert list(written.parent.iterdir()) == [written]


def test_what_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none" / "a", tmp_path / "file" / "a", tmp_path / "folder", tmp_path / ("a" * 300)):
        for write in (lambda path: save(path, TENSORS, CARD), lambda path: write_atomically(path, b"content")):
            with pytest.raises(WeightsError, match=r"cannot be written .*; nothing was changed") as error:
                write(path)
            assert str(path) in str(error.value)
            assert one_line(error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_writer_that_dies_leaves_the_old_file_and_the_next_one_cleans_up(written):
    partial = written.with_name(f".{written.name}.part")
    partial.write_bytes(b"half of it")
    assert load(written)[1] == CARD
    save(written, TENSORS, {"second": True})
    assert load(written)[1] == {"second": True}
    assert not partial.exists()


def test_a_reader_finds_a_whole_file_at_any_moment(written):
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [save(written, {"t": torch.full((5,), float(i))}, {"i": i}) for i in range(100)])
        while not writing.done():
            tensors, card = load(written)
            assert card == CARD or tensors["t"].tolist() == [card["i"]] * 5
        writing.result()
    assert load(written)[1] == {"i": 99}


def test_written_bytes_take_the_place_of_the_old_ones(tmp_path):
    write_atomically(tmp_path / "file", b"a long first content")
    write_atomically(tmp_path / "file", b"short")
    assert (tmp_path / "file").read_bytes() == b"short"


def test_put_takes_any_float_type_and_keeps_its_own():
    layer = nn.Linear(2, 3)
    put(
        layer, {"weight": torch.full((3, 2), 0.5, dtype=torch.float16), "bias": torch.ones(3, dtype=torch.float64)}, "f"
    )
    assert layer.weight.dtype == layer.bias.dtype == torch.float32
    assert layer.weight.unique().item() == 0.5
    assert layer.weight.requires_grad


FITS = {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}


@pytest.mark.parametrize(
    ("tensors", "line"),
    [
        ({"weight": FITS["weight"]}, "f: bias is missing; load it as vgg-c"),
        (FITS | {"extra": torch.zeros(1)}, "f: extra is not in this net; load it as vgg-c"),
        (FITS | {"weight": torch.zeros(3, 4)}, "f: weight is 3×4, this net has 3×2; load it as vgg-c"),
        (FITS | {"bias": torch.zeros(())}, "f: bias is one number, this net has 3; load it as vgg-c"),
        (FITS | {"bias": torch.zeros(3, dtype=torch.int64)}, "f: bias is int64, this net has float32; save it again"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(tensors, line):
    layer = nn.Linear(2, 3)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    for check in (check_fit, put):
        with pytest.raises(WeightsError) as error:
            check(layer, tensors, "f", saved_as="vgg-c")
        assert str(error.value).startswith(line)
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
