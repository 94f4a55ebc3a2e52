"""Shards: the data set that they were made of, to the byte; others' tar files; and what is wrong with them."""

import json
import shutil
import tarfile
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from PIL import Image

from verydeep.cli.app import run
from verydeep.data.feed import Feed
from verydeep.data.folders import open_folders
from verydeep.data.open import open_dataset
from verydeep.data.shards import write_shards
from verydeep.data.training_views import TrainingViews
from verydeep.errors import DatasetError, VerydeepError


def jpeg(seed, height, width):
    file = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class folders of a training split, one picture's name not UTF-8."""
    root = tmp_path_factory.mktemp("pictures")
    for label, key in enumerate(("cat", "käse")):
        (root / "train" / key).mkdir(parents=True)
        for number in range(7):
            (root / "train" / key / f"{number}.v1.JPG").write_bytes(jpeg(10 * label + number, 40 + number, 60))
    (root / "train" / "cat" / b"\xff.jpg".decode(errors="surrogateescape")).write_bytes(jpeg(99, 50, 50))
    return root


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    write_shards(open_folders(folder, "train"), root, megabytes=0.03)
    return root


def test_shards_are_the_data_set_that_they_were_made_of(folder, shards):
    there, here = open_dataset(folder, "train"), open_dataset(shards, "train")
    assert len(list(shards.glob("*.tar"))) > 2
    assert here.fingerprint() == there.fingerprint()
    assert (here.classes, list(here.images), here.orientation) == (there.classes, list(there.images), "apply")
    for index in range(len(there)):
        assert here.encoded(index) == there.encoded(index)
        assert here.size(index) == there.size(index)
        np.testing.assert_array_equal(here.picture(index), there.picture(index))
    part = here.subset([9, 2])
    assert part.encoded(1) == there.encoded(2)


def test_the_feed_makes_the_same_batches_of_both(folder, shards):
    feeds = [Feed(open_dataset(root, "train"), TrainingViews(32, (36, 48)), 4, seed=5) for root in (folder, shards)]
    for ours, theirs in zip(feeds[0].batches(2), feeds[1].batches(2), strict=True):
        assert torch.equal(ours.views, theirs.views)
        assert torch.equal(ours.labels, theirs.labels)
    for feed in feeds:
        feed.close()


def test_a_tar_file_holds_picture_label_and_name_by_key_as_webdataset_has_them(folder, shards):
    data = open_folders(folder, "train")
    seen = []
    for path in sorted(shards.glob("*.tar")):
        with tarfile.open(path) as archive:
            content = {member.name: archive.extractfile(member).read() for member in archive}
        for key in sorted({name.partition(".")[0] for name in content}):
            said = json.loads(content[f"{key}.json"])
            index = next(i for i in range(len(data)) if data.encoded(i) == content[f"{key}.jpg"])
            assert int(content[f"{key}.cls"]) == data.labels[index]
            assert said["class"] == data.classes[data.labels[index]]
            seen.append(index)
    assert sorted(seen) == list(range(len(data)))
    assert seen != sorted(seen)  # mixed


def test_the_command_writes_them_once(folder, tmp_path, capsys):
    assert run(["data", "shard", str(folder), str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "new" / "shards-train.json")
    assert run(["data", "check", str(tmp_path / "new"), "--split", "train"]) == 0
    assert run(["data", "shard", str(folder), str(tmp_path / "new")]) == 2
    assert "is there already; name another folder" in capsys.readouterr().err


@pytest.fixture
def copy(shards, tmp_path):
    return shutil.copytree(shards, tmp_path / "copy")


def test_a_shard_that_is_cut_off_missing_or_named_twice_is_named(copy):
    last = sorted(copy.glob("*.tar"))[-1]
    content = last.read_bytes()
    last.write_bytes(content[:1000])
    with pytest.raises(DatasetError, match=rf"{last.name}: has 1,000 bytes of {len(content):,}; copy it again"):
        open_dataset(copy, "train")
    last.unlink()
    with pytest.raises(DatasetError, match=rf"{last.name}: is missing; copy it again"):
        open_dataset(copy, "train")
    last.write_bytes(content)
    card = copy / "shards-train.json"
    said = json.loads(card.read_text())
    card.write_text(json.dumps(said | {"shards": [*said["shards"], said["shards"][0]]}))
    with pytest.raises(DatasetError, match=r"names train-000000\.tar twice"):
        open_dataset(copy, "train")
    card.write_text(json.dumps(said | {"shards": [{"file": "../train-000000.tar", "bytes": 1}]}))
    with pytest.raises(DatasetError, match="in another folder"):
        open_dataset(copy, "train")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=some.sampled_from(["json", "npz"]), where=some.integers(min_value=0), what=some.integers(1, 255),
       cut=some.booleans())  # fmt: skip
def test_damage_of_card_or_index_is_an_error_of_ours_or_does_no_harm(copy, shards, file, where, what, cut):
    path = copy / f"shards-train.{file}"
    content = bytearray((shards / path.name).read_bytes())
    where %= len(content)
    content[where] ^= what
    path.write_bytes(content[:where] if cut else content)
    try:
        data = open_dataset(copy, "train")
        for index in range(len(data)):
            data.encoded(index)
    except VerydeepError as error:
        said = str(error)
    else:
        said = ""
    assert "\n" not in said


def tar(path, **members):
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace("__", "."))
            member.size = len(content)
            archive.addfile(member, BytesIO(content))


def test_shards_of_others_are_read_by_their_headers(tmp_path):
    tar(tmp_path / "val-0.tar", a__jpg=jpeg(0, 30, 40), a__cls=b"2", note__txt=b"hello")
    tar(tmp_path / "val-1.tar", b__cls=b"0\n", b__jpg=jpeg(1, 31, 40), lonely__jpg=jpeg(2, 32, 40))
    data = open_dataset(tmp_path)
    assert list(data.images) == ["val-0.tar/a.jpg", "val-1.tar/b.jpg"]
    assert (data.labels.tolist(), data.classes) == ([2, 0], ("0", "1", "2"))
    assert [data.size(index) for index in (0, 1)] == [(30, 40), (31, 40)]
    assert data.encoded(1) == jpeg(1, 31, 40)


def test_shards_of_others_are_refused_by_name(tmp_path):
    tar(tmp_path / "val-0.tar", a__jpg=jpeg(0, 30, 40), a__cls=b"2")
    with pytest.raises(DatasetError, match=r"has no shards of split 'train', train-….tar; give another split"):
        open_dataset(tmp_path, "train")
    shutil.copy(tmp_path / "val-0.tar", tmp_path / "val-1.tar")
    with pytest.raises(DatasetError, match=r"val-1\.tar: has picture a, as val-0\.tar has; leave one"):
        open_dataset(tmp_path)
    (tmp_path / "val-1.tar").write_bytes((tmp_path / "val-0.tar").read_bytes()[:900])
    with pytest.raises(DatasetError, match=r"val-1\.tar: is no whole shard"):
        open_dataset(tmp_path)
    tar(tmp_path / "val-1.tar", b__jpg=jpeg(0, 30, 40), b__cls=b"cat")
    with pytest.raises(DatasetError, match=r"val-1\.tar: is no whole shard \(invalid literal"):
        open_dataset(tmp_path)
