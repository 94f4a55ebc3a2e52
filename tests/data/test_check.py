import json

import numpy as np
import pytest

from verydeep.data.check import check
from verydeep.data.dataset import PictureArray
from verydeep.data.folders import open_folders


@pytest.fixture
def zoo(put, write, encode, noise):
    """One of every trouble among good pictures."""
    root = put("cat/1.jpg", "cat/2.jpg", "dog/1.jpg")
    write("cat/cut.jpg", encode(noise(60, 60))[:-500])
    write("cat/text.png", "no picture")
    write("dog/empty.jpg")
    write("dog/is_png.jpg", encode(noise(9, 40), "PNG"))
    write("dog/grey.jpg", encode(noise(50, 40)[:, :, 0]))
    write("dog/bomb.png", encode(np.zeros((2000, 600, 3), np.uint8), "PNG"))
    write("dog/tmp")
    return open_folders(root, max_megapixels=1.0)


def test_every_bad_file_is_listed_with_its_reason(zoo):
    result = check(zoo)
    assert [image for image, _ in result.bad] == ["cat/cut.jpg", "cat/text.png", "dog/bomb.png", "dog/empty.jpg"]
    for image, reason in result.bad:
        assert image in reason
        assert "\n" not in reason
    assert "is of no known format" in dict(result.bad)["cat/text.png"]
    assert "megapixels" in dict(result.bad)["dog/bomb.png"]
    assert "is empty" in dict(result.bad)["dog/empty.jpg"]


def test_formats_modes_and_sizes_are_counted(zoo):
    result = check(zoo, threads=1)
    assert result.images == 9
    assert result.formats == {"JPEG": 4, "PNG": 1}
    assert result.modes == {"RGB": 4, "L": 1}
    assert result.sizes == {(24, 32): 1, (25, 32): 1, (26, 32): 1, (9, 40): 1, (50, 40): 1}
    assert result.smallest[:2] == [(9, "dog/is_png.jpg"), (24, "cat/1.jpg")]
    assert result.per_class == (4, 5)
    assert result.misnamed == ["dog/is_png.jpg (PNG)"]
    assert result.remarks == ("dog/tmp was left out: it has no picture's suffix, or no class",)


def test_the_report_says_it_all_and_goes_into_json(zoo):
    result = check(zoo)
    text = str(result)
    for part in (
        "bad: ",
        "another format than its name says, but read: dog/is_png.jpg (PNG)",
        "dog/tmp was left out",
        "9 pictures, 4 bad, 0 without a label",
        "pictures of a class: 4 to 5",
        "EXIF orientation: applied",
        "formats: JPEG 4, PNG 1",
        "width 32 to 40, height 9 to 50",
        "shortest sides: 9 px dog/is_png.jpg",
    ):
        assert part in text
    assert json.loads(json.dumps(result.to_dict()))["sizes"][0][2] == 1


def test_nothing_is_written_to_a_data_set(zoo):
    before = {path: path.stat().st_mtime_ns for path in zoo.root.rglob("*")}
    check(zoo)
    assert {path: path.stat().st_mtime_ns for path in zoo.root.rglob("*")} == before


def test_all_bad_and_unlabelled_pictures_can_be_reported(put, write):
    root = put("train/a/1.jpg")
    write("test/1.jpg", "x")
    result = check(open_folders(root, "test"))
    assert "1 pictures, 1 bad, 1 without a label" in str(result)


def test_pictures_in_memory_are_counted_and_progress_ends_with_all(tmp_path):
    calls = []
    dataset = PictureArray(
        kind="array",
        root=tmp_path,
        split="all",
        classes=("a",),
        names={"a": "a"},
        images=tuple(map(str, range(70))),
        labels=np.zeros(70, np.int64),
        pixels=np.zeros((70, 5, 4, 3), np.uint8),
    )
    assert check(dataset, progress=lambda *call: calls.append(call)).sizes == {(5, 4): 70}
    assert calls == [(64, 70), (70, 70)]
