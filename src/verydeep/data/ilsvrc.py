"""ILSVRC-2012 as its archives, its kits and Kaggle lay it out. The class is the wnid, never a position.

Three numberings go about: the kit's ids (1 is n02119789, kit fox), Caffe's and torchvision's places among the sorted
wnids (0 is n01440764, tench), and names, of which two stand for two classes each. All are turned into wnids here: see
docs/decisions/011-classes-by-key.md. EXIF orientation is ignored, as in all published figures.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from verydeep.data.dataset import PictureFiles
from verydeep.data.folders import Contents, list_folder, scan_classes, scan_unlabelled
from verydeep.data.lines import read_csv, read_lines
from verydeep.errors import DatasetError
from verydeep.pictures.decode import MAX_MEGAPIXELS

WNID = re.compile(r"n\d{8}")
VAL_PICTURE = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+")
DATA_FOLDERS = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")  # where Kaggle and the kits from 2015 keep the splits
SPLITS = {split: (split, f"ILSVRC2012_img_{split}") for split in ("train", "val", "test")}
GROUND_TRUTH = "ILSVRC201[2-7]*_validation_ground_truth.txt"  # the same lines in the kits of all years
WORDS = ("LOC_synset_mapping.txt", "synset_words.txt", "words.txt")  # WNID, white space, names


def is_ilsvrc(root: Path) -> bool:
    """Whether class folders are all named by wnids, or validation pictures by the challenge's scheme."""
    if any((root / data).is_dir() for data in DATA_FOLDERS):
        return True
    for folder in (*_split_folders(root).values(), ""):
        listing = list_folder(root / folder)
        if listing.folders and all(WNID.fullmatch(name.decode(errors="replace")) for name in listing.folders):
            return True
        if listing.pictures and VAL_PICTURE.fullmatch(listing.pictures[0].decode(errors="replace")):
            return True
    return False


def open_ilsvrc(root: Path, split: str = "val", max_megapixels: float = MAX_MEGAPIXELS) -> PictureFiles:
    """The split's pictures: of class folders named by wnids, or of one folder with labels in a file of a kit."""
    splits = _split_folders(root)
    if splits and split not in splits:
        raise DatasetError(f"{root}: has no split {split!r}; it has {', '.join(splits)}")
    folder = splits.get(split, "")
    if _has_classes(root / folder):
        contents = scan_classes(root, folder)
        for name in contents.classes:
            if not WNID.fullmatch(name):
                raise DatasetError(f"{root / folder / name}: is not named by a wnid; open it as kind 'folders'")
        split = split if splits else "all"
    elif splits and split == "train":
        raise DatasetError(_no_train(root / folder))
    else:
        contents = scan_unlabelled(root, folder)
        split = "test" if "_test_" in contents.images[0] else "val"
        if split == "val":
            contents = _label(root, folder, contents)
    names = _names(root)
    classes = contents.classes
    if not classes:  # test pictures, whose labels were never given out
        classes = scan_classes(root, splits["train"]).classes if "train" in splits else tuple(sorted(names))
    return PictureFiles(
        kind="ilsvrc",
        root=root,
        split=split,
        classes=classes,
        names={wnid: names.get(wnid, wnid) for wnid in classes},
        images=contents.images,
        labels=contents.labels,
        orientation="ignore",
        max_megapixels=max_megapixels,
        remarks=contents.remarks,
    )


def _has_classes(folder: Path) -> bool:
    """Whether the pictures lie in class folders, and not all in one folder."""
    listing = list_folder(folder)
    wnids = any(WNID.fullmatch(name.decode(errors="replace")) for name in listing.folders)
    return wnids or bool(listing.folders and not listing.pictures)


def _split_folders(root: Path) -> dict[str, str]:
    """The folders inside `root` that hold its splits, by split."""
    data = next((data + "/" for data in DATA_FOLDERS if (root / data).is_dir()), "")
    found = {
        s: next((data + name for name in names if (root / data / name).is_dir()), "") for s, names in SPLITS.items()
    }
    return {split: folder for split, folder in found.items() if folder}


def _label(root: Path, folder: str, contents: Contents) -> Contents:
    """The pictures of a flat validation folder with their classes."""
    stems = [Path(image).stem for image in contents.images]
    wnids = _solution(root, stems) or _ground_truth(root, stems) or _caffe_list(root, stems)
    if wnids is None:
        raise DatasetError(
            f"{root / folder}: its pictures have no labels; put LOC_val_solution.csv, or the kit's "
            f"ILSVRC2012_validation_ground_truth.txt and meta.mat, into {root}"
        )
    classes = tuple(sorted(set(wnids)))
    places = {wnid: place for place, wnid in enumerate(classes)}
    return replace(contents, classes=classes, labels=np.array([places[wnid] for wnid in wnids], np.int64))


def _solution(root: Path, stems: Sequence[str]) -> list[str] | None:
    """Wnids from Kaggle's LOC_val_solution.csv: ImageId,PredictionString, the latter WNID and box, repeated."""
    path = _kit_file(root, "LOC_val_solution.csv")
    if path is None:
        return None
    rows = [cells for _, cells in read_csv(path)[1:]]
    return _by_name(path, {row[0]: row[1].split()[0] for row in rows if len(row) > 1 and row[1]}, stems)


def _ground_truth(root: Path, stems: Sequence[str]) -> list[str] | None:
    """Wnids from the kit: an id on each line, in the order of the pictures' numbers, and a table of ids."""
    path = _kit_file(root, GROUND_TRUTH)
    if path is None:
        return None
    ids = [line.strip() for line in read_lines(path) if line.strip()]
    if len(ids) != len(stems):
        raise DatasetError(f"{path}: has {len(ids)} lines for {len(stems)} pictures; copy it or the pictures again")
    for number, stem in enumerate(stems, 1):
        if not stem.endswith(f"_{number:08d}"):
            raise DatasetError(f"{path}: its line {number} is for a picture number {number:08d}, and {stem} is there")
    table, wnids = _wnids_of_ids(root, path)
    for number, key in enumerate(ids, 1):
        if key not in wnids:
            raise DatasetError(f"{path}: line {number} is {key[:20]!r}, which is no id in {table}")
    return [wnids[key] for key in ids]


def _caffe_list(root: Path, stems: Sequence[str]) -> list[str] | None:
    """Wnids from Caffe's lists: val.txt of NAME PLACE, where the wnid stands at that place in synsets.txt."""
    path, order = _kit_file(root, "val.txt"), _kit_file(root, "synsets.txt", "synset_words.txt")
    if path is None or order is None:
        return None
    wnids = [line.split()[0] for line in read_lines(order) if line.strip()]
    pairs = [line.rsplit(maxsplit=1) for line in read_lines(path) if line.strip()]
    for number, pair in enumerate(pairs, 1):
        if len(pair) != 2 or not pair[1].isdecimal() or int(pair[1]) >= len(wnids):
            raise DatasetError(
                f"{path}: line {number} is not NAME PLACE with a place below {len(wnids)}, as in {order}"
            )
    return _by_name(path, {Path(name).stem: wnids[int(place)] for name, place in pairs}, stems)


def _by_name(path: Path, wnids: Mapping[str, str], stems: Sequence[str]) -> list[str]:
    missing = next((stem for stem in stems if stem not in wnids), None)
    if missing is not None:
        raise DatasetError(f"{path}: has no line for {missing}; copy it again")
    if len(wnids) != len(stems):
        raise DatasetError(f"{path}: has {len(wnids)} lines for {len(stems)} pictures; copy it or the pictures again")
    return [wnids[stem] for stem in stems]


def _wnids_of_ids(root: Path, ground_truth: Path) -> tuple[Path, dict[str, str]]:
    """The kit's table of ids, as text or as Matlab's, and where it was found."""
    path = _kit_file(root, "map_clsloc.txt", "meta.mat", "meta_clsloc.mat")
    if path is None:
        raise DatasetError(f"{ground_truth}: its ids need the kit's meta.mat or map_clsloc.txt beside it")
    return path, {key: wnid for key, wnid, _ in read_class_table(path)}


def _names(root: Path) -> dict[str, str]:
    """What people call the classes, by wnid, from whichever file says so."""
    path = _kit_file(root, *WORDS)
    if path is not None:
        return dict(line.split(maxsplit=1) for line in read_lines(path) if len(line.split(maxsplit=1)) == 2)
    path = _kit_file(root, "map_clsloc.txt", "meta.mat", "meta_clsloc.mat")
    return {} if path is None else {wnid: words for _, wnid, words in read_class_table(path)}


def read_class_table(path: Path) -> list[tuple[str, str, str]]:
    """Id, wnid and names of each class: from lines like `n02119789 1 kit_fox`, or from the struct `synsets`."""
    if path.suffix == ".txt":
        rows = [line.split(maxsplit=2) for line in read_lines(path) if line.strip()]
        table = [(row[1], row[0], row[-1].replace("_", " ")) for row in rows if len(row) == 3]
    else:
        table = _matlab_table(path)
    if not table or not all(WNID.fullmatch(wnid) for _, wnid, _ in table):
        raise DatasetError(f"{path}: has no table of ids and wnids; copy it again")
    return table


def _matlab_table(path: Path) -> list[tuple[str, str, str]]:
    from scipy.io import loadmat  # reads numbers, text and structs, and runs nothing

    try:
        synsets = np.atleast_1d(loadmat(path, squeeze_me=True, variable_names=["synsets"])["synsets"])
        key = next(name for name in (synsets.dtype.names or ()) if re.fullmatch(r"ILSVRC20\d\d_(CLSLOC_)?ID", name))
        return [(str(int(row[key])), str(row["WNID"]), str(row["words"])) for row in synsets]
    except Exception as error:  # damaged files end in errors of many kinds
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise DatasetError(f"{path}: is not the kit's table of classes ({reason}); copy it again") from None


def _no_train(folder: Path) -> str:
    tars = [name.decode() for name in list_folder(folder).others if re.fullmatch(rb"n\d{8}\.tar", name)]
    if tars:
        return f"{folder}: holds a tar for each class; unpack {tars[0]} into {tars[0][:-4]}/, and so on"
    return f"{folder}: has no class folders, such as n01440764; unpack the archive again"


def _kit_file(root: Path, *patterns: str) -> Path | None:
    """The first file of one of these names, in the order of the names, in the places where people keep the kit."""
    places = list(_kit_places(root))
    found = (path for pattern in patterns for place in places for path in sorted(place.glob(pattern)) if path.is_file())
    return next(found, None)


def _kit_places(root: Path) -> Iterator[Path]:
    bases = [root, root / "ILSVRC"]
    if not _split_folders(root) or root.name == "ILSVRC":  # the split itself, or the inner of Kaggle's folders
        bases += [root.resolve().parent]
    for base in bases:
        yield from (base, base / "data")
        for kit in sorted(base.glob("*devkit*")):
            yield from (kit, kit / "data")
