import numpy as np
import pytest
from scipy.io import savemat

from verydeep.data.open import open_dataset
from verydeep.errors import DatasetError

KIT_ORDER = ("n02119789", "n02100735", "n01440764")  # ids 1, 2, 3: kit fox, English setter, tench
SORTED = ("n01440764", "n02100735", "n02119789")
WORDS = {"n02119789": "kit fox, Vulpes macrotis", "n02100735": "English setter", "n01440764": "tench, Tinca tinca"}
IDS = (1, 3, 3, 2, 1)  # of validation pictures 1 to 5
LABELS = [2, 0, 0, 1, 2]  # the same as ranks of the sorted wnids
VAL = tuple(f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 6))
TRAIN = tuple(f"{wnid}/{wnid}_{number}.JPEG" for wnid in KIT_ORDER for number in (7, 10026))
GROUND_TRUTH = "".join(f"{key}\n" for key in IDS)


def meta(path, key="ILSVRC2012_ID", order=KIT_ORDER):
    """The kit's table, the inner synset "entity" at its end included."""
    rows = [(float(i), wnid, WORDS[wnid], 0.0) for i, wnid in enumerate(order, 1)] + [(4.0, "n00001740", "entity", 2.0)]
    table = np.array(rows, [(key, "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")])
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"synsets": table[:, None]})


@pytest.fixture
def flat(put):
    return put(*(f"train/{name}" for name in TRAIN), *(f"val/{name}" for name in VAL))


def test_class_folders_named_by_wnids_are_ilsvrc(put):
    root = put(
        *(f"train/{name}" for name in TRAIN),
        *(f"val/{wnid}/{name}" for wnid, name in zip(SORTED, VAL[:3], strict=True)),
    )
    train, val = open_dataset(root, "train"), open_dataset(root, "val")
    assert (train.kind, val.kind) == ("ilsvrc", "ilsvrc")
    assert train.classes == val.classes == SORTED
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert val.labels.tolist() == [0, 1, 2]
    assert train.orientation == "ignore"
    assert train.images[0] == "train/n01440764/n01440764_10026.JPEG"  # in byte order: names have no fixed width
    with pytest.raises(DatasetError, match="has no split 'test'; it has train, val"):
        open_dataset(root, "test")


def test_folders_of_wnids_without_splits_are_ilsvrc_too(put):
    dataset = open_dataset(put(*TRAIN))
    assert (dataset.kind, dataset.split, dataset.classes) == ("ilsvrc", "all", SORTED)
    told = open_dataset(dataset.root, kind="folders")
    assert (told.kind, told.orientation, told.classes) == ("folders", "apply", SORTED)


@pytest.mark.parametrize("place", ["", "data/", "ILSVRC2012_devkit_t12/data/", "devkit/"])
@pytest.mark.parametrize("table", ["meta.mat", "meta_clsloc.mat", "map_clsloc.txt"])
def test_ids_of_the_kit_become_wnids(flat, write, place, table):
    write(f"{place}ILSVRC2012_validation_ground_truth.txt", GROUND_TRUTH)
    if table.endswith(".mat"):
        meta(flat / place / table, "ILSVRC2012_ID" if table == "meta.mat" else "ILSVRC2014_CLSLOC_ID")
    else:
        write(
            place + table,
            "".join(f"{wnid} {i} {WORDS[wnid].replace(' ', '_')}\n" for i, wnid in enumerate(KIT_ORDER, 1)),
        )
    val = open_dataset(flat)
    assert val.classes == SORTED
    assert val.labels.tolist() == LABELS
    assert val.names == {wnid: WORDS[wnid] for wnid in SORTED}
    assert list(val.images) == [f"val/{name}" for name in VAL]


def test_ids_do_not_depend_on_their_order_in_the_kit(flat, write):
    write("ILSVRC2012_validation_ground_truth.txt", "".join(f"{4 - key}\n" for key in IDS))
    meta(flat / "meta.mat", order=KIT_ORDER[::-1])
    assert open_dataset(flat).labels.tolist() == LABELS


def test_the_archives_folders_under_their_own_names_will_do(put, write):
    root = put(*(f"ILSVRC2012_img_train/{n}" for n in TRAIN), *(f"ILSVRC2012_img_val/{n}" for n in VAL))
    write("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", GROUND_TRUTH)
    meta(root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat")
    assert open_dataset(root).labels.tolist() == LABELS
    assert len(open_dataset(root, "train")) == 6


@pytest.mark.parametrize("opened", ["", "ILSVRC", "ILSVRC/Data/CLS-LOC"])
def test_kaggles_layout_is_read_from_its_solution(put, write, opened):
    data = "ILSVRC/Data/CLS-LOC"
    root = put(
        *(f"{data}/train/{name}" for name in TRAIN),
        *(f"{data}/val/{name}" for name in VAL),
        f"{data}/test/ILSVRC2012_test_00000001.JPEG",
    )
    rows = [f"{name[:-5]},{KIT_ORDER[key - 1]} 85 1 499 272 " for name, key in zip(VAL, IDS, strict=True)]
    place = "" if opened != "ILSVRC/Data/CLS-LOC" else "ILSVRC/Data/"  # beside what is opened
    write(f"{place}LOC_val_solution.csv", "\n".join(["ImageId,PredictionString", *rows[::-1]]))
    write(f"{place}LOC_synset_mapping.txt", "".join(f"{wnid} {WORDS[wnid]}\n" for wnid in SORTED))
    if opened == "ILSVRC/Data/CLS-LOC":
        opened = f"{data}/val"
        (root / data / "LOC_val_solution.csv").write_text((root / place / "LOC_val_solution.csv").read_text())
        val = open_dataset(root / opened)
        assert (val.labels.tolist(), val.split, val.images[0]) == (LABELS, "val", VAL[0])
        return
    val, test = open_dataset(root / opened), open_dataset(root / opened, "test")
    assert (val.kind, val.classes, val.labels.tolist()) == ("ilsvrc", SORTED, LABELS)
    assert val.names == {wnid: WORDS[wnid] for wnid in SORTED}
    assert val.picture(4).shape == (*val.size(4), 3)
    assert test.labels.tolist() == [-1]
    assert test.classes == SORTED
    assert len(open_dataset(root / opened, "train")) == 6


def test_caffes_lists_are_read_through_their_synsets(flat, write):
    write("val.txt", "".join(f"{name} {label}\n" for name, label in zip(VAL, LABELS, strict=True)))
    write("synset_words.txt", "".join(f"{wnid} {WORDS[wnid]}\n" for wnid in SORTED))
    val = open_dataset(flat)
    assert (val.classes, val.labels.tolist()) == (SORTED, LABELS)
    assert val.names["n01440764"] == "tench, Tinca tinca"
    write("val.txt", f"{VAL[0]} 3\n")
    with pytest.raises(DatasetError, match=r"val\.txt: line 1 is not NAME PLACE with a place below 3"):
        open_dataset(flat)


def test_a_flat_validation_folder_finds_the_kit_beside_it(flat, write):
    write("ILSVRC2012_validation_ground_truth.txt", GROUND_TRUTH)
    meta(flat / "meta.mat")
    val = open_dataset(flat / "val")
    assert (val.kind, val.split, val.labels.tolist(), val.images[0]) == ("ilsvrc", "val", LABELS, VAL[0])


def test_pictures_without_labels_say_which_files_would_give_them(flat, write):
    with pytest.raises(DatasetError, match=r"/val: its pictures have no labels; put LOC_val_solution\.csv, or"):
        open_dataset(flat)
    write("ILSVRC2012_validation_ground_truth.txt", GROUND_TRUTH)
    with pytest.raises(DatasetError, match=r"its ids need the kit's meta\.mat or map_clsloc\.txt"):
        open_dataset(flat)


def test_ground_truth_that_does_not_fit_is_refused(flat, write):
    meta(flat / "meta.mat")
    write("ILSVRC2012_validation_ground_truth.txt", GROUND_TRUTH + "2\n")
    with pytest.raises(DatasetError, match=r"ground_truth\.txt: has 6 lines for 5 pictures"):
        open_dataset(flat)
    write("ILSVRC2012_validation_ground_truth.txt", GROUND_TRUTH.replace("2", "999"))
    with pytest.raises(DatasetError, match=r"ground_truth\.txt: line 4 is '999', which is no id in .*meta\.mat"):
        open_dataset(flat)
    write("ILSVRC2012_validation_ground_truth.txt", GROUND_TRUTH)
    (flat / "val" / VAL[2]).rename(flat / "val" / "ILSVRC2012_val_00000006.JPEG")
    with pytest.raises(DatasetError, match=r"its line 3 is for a picture number 00000003, and ILSVRC2012_val_00000004"):
        open_dataset(flat)


def test_a_solution_that_does_not_fit_is_refused(flat, write):
    rows = [f"{name[:-5]},{KIT_ORDER[0]} 1 1 2 2" for name in VAL]
    write("LOC_val_solution.csv", "\n".join(["ImageId,PredictionString", *rows[1:]]))
    with pytest.raises(DatasetError, match=r"LOC_val_solution\.csv: has no line for ILSVRC2012_val_00000001"):
        open_dataset(flat)
    write("LOC_val_solution.csv", "\n".join(["ImageId,PredictionString", *rows, "other,n01440764 1 1 2 2"]))
    with pytest.raises(DatasetError, match=r"LOC_val_solution\.csv: has 6 lines for 5 pictures"):
        open_dataset(flat)


@pytest.mark.parametrize("content", [b"", b"no matlab", b"MATLAB 5.0 MAT-file" + bytes(200)])
def test_a_damaged_kit_is_named(flat, write, content):
    write("ILSVRC2012_validation_ground_truth.txt", GROUND_TRUTH)
    write("meta.mat", content)
    with pytest.raises(DatasetError, match=r"meta\.mat: is not the kit's table of classes") as caught:
        open_dataset(flat)
    assert "\n" not in str(caught.value)


def test_strays_change_no_layout(flat, put, write):
    write("ILSVRC2012_validation_ground_truth.txt", GROUND_TRUTH)
    meta(flat / "meta.mat")
    write("val/thumbnails/1.JPEG"), write("val/valprep.sh"), write("train/preview.JPEG")
    assert open_dataset(flat).labels.tolist() == LABELS
    assert open_dataset(flat, "train").labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert "2 files and folders were left out" in open_dataset(flat).remarks[0]


def test_tars_that_are_not_unpacked_are_said(put, write):
    root = put("val/ILSVRC2012_val_00000001.JPEG")
    write("train/n01440764.tar")
    with pytest.raises(
        DatasetError, match=r"/train: holds a tar for each class; unpack n01440764\.tar into n01440764/"
    ):
        open_dataset(root, "train")


def test_a_folder_that_is_no_wnid_among_wnids_is_named(put):
    root = put("train/n01440764/1.JPEG", "val/n01440764/1.JPEG", "val/dog/1.JPEG")
    with pytest.raises(DatasetError, match="dog: is not named by a wnid; open it as kind 'folders'"):
        open_dataset(root)
