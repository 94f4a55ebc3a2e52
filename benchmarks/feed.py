"""How fast pictures become batches: verydeep's feed, torchvision's reference pipeline, and an expert's.

    python benchmarks/feed.py --output docs/results/speed/feed.json

takes about three minutes. Each contestant is a process of its own, pinned to its cores and idle while another is
measured; they take turns, and the best round of each counts. The pictures are made from the two photographs that come
with scikit-learn, or taken from --folder. With opencv-python-headless installed the expert resizes with it, else with
Pillow.
"""

import argparse
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

BATCH, CROP, SMALLEST_SIDE = 64, 224, (256, 512)
PICTURES = {"500x375": (500, 375, 192, 4), "4032x3024": (4032, 3024, 8, 2)}  # width, height, files, names of each
NOISE = 14  # grey levels either way, which give the files the size that those of ILSVRC have
ROUNDS, SECONDS = 5, 1.5  # of each contestant; of a round
CONTESTANTS = {  # case → name: pictures, contestant, cores
    "one core, 500x375": {
        "ours": ("500x375", "ours", 1),
        "peer": ("500x375", "torchvision", 1),
        "tuned_peer": ("500x375", "expert", 1),
        "limit": ("500x375", "decoding", 1),
    },
    "one core, 4032x3024": {
        "ours": ("4032x3024", "ours", 1),
        "peer": ("4032x3024", "torchvision", 1),
        "tuned_peer": ("4032x3024", "expert", 1),
        "limit": ("4032x3024", "decoding", 1),
    },
    "two cores, 500x375": {
        "ours": ("500x375", "ours", 2),
        "peer": ("500x375", "torchvision", 2),
        "tuned_peer": ("500x375", "expert", 2),
    },
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--output", type=Path, help="JSON file to write; standard output without.")
    arguments.add_argument("--folder", type=Path, help="JPEGs in class folders instead of the 500x375 ones made here.")
    arguments.add_argument("--contestant", nargs=3, help=argparse.SUPPRESS)  # one of the processes
    chosen = arguments.parse_args()
    if chosen.contestant:
        name, folder, cores = chosen.contestant
        take_part(name, Path(folder), int(cores))
        return
    with tempfile.TemporaryDirectory() as made:
        folders = {pictures: make_pictures(Path(made) / pictures, *PICTURES[pictures]) for pictures in PICTURES}
        folders["500x375"] = chosen.folder or folders["500x375"]
        result = describe(folders, made_here=chosen.folder is None)
        result |= compare("one core, 500x375", folders)
        result["photographs of 4032x3024"] = compare("one core, 4032x3024", folders)
        if len(os.sched_getaffinity(0)) > 1:
            result["two cores"] = two_cores = compare("two cores, 500x375", folders)
            two_cores["ours_in_times_one_core"] = round(two_cores["ours"] / result["ours"], 3)
    text = json.dumps(result, indent=2)
    if chosen.output:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(text + "\n")
    print(text)


# ---- The comparison ----


def compare(case: str, folders: dict[str, Path]) -> dict[str, Any]:
    """Pictures a second of each contestant and their ratios; the contestants take turns."""
    processes = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--contestant", contestant, str(folders[pictures]), str(cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, (pictures, contestant, cores) in CONTESTANTS[case].items()
    }
    rounds: dict[str, list[float]] = {name: [] for name in processes}
    for name, process in processes.items():
        measure(process)  # the first round loads what is loaded at first use
        print(f"{case}: {name} is ready", file=sys.stderr)
    for _ in range(ROUNDS):
        for name, process in processes.items():
            pictures_a_second, busy = measure(process)
            rounds[name].append(round(pictures_a_second, 1))
            if busy < 0.9 and CONTESTANTS[case][name][2] == 1:
                print(f"{case}: {name} had {busy:.0%} of its core; is something else running?", file=sys.stderr)
    for process in processes.values():
        process.communicate()  # closes its input, which ends it
    best = {name: max(figures) for name, figures in rounds.items()}
    result: dict[str, Any] = {
        "ratio": round(best["ours"] / best["peer"], 3),
        "tuned_peer_ratio": round(best["ours"] / best["tuned_peer"], 3),
    }
    if "limit" in best:
        result["share_of_limit"] = round(best["ours"] / best["limit"], 3)
    return result | best | {"rounds": rounds}


def measure(process: subprocess.Popen[str]) -> tuple[float, float]:
    """One round of a waiting contestant: pictures a second, and the share of the time that it was computing."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    pictures_a_second, busy = process.stdout.readline().split()
    return float(pictures_a_second), float(busy)


def take_part(name: str, folder: Path, cores: int) -> None:
    """One contestant: at each line of standard input, a round of whole epochs, so that nothing is made ahead for it."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])  # before torch counts them
    epoch = {"ours": ours, "torchvision": torchvision, "expert": expert, "decoding": decoding}[name](folder, cores)
    for _ in sys.stdin:
        pictures, start, start_busy = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < SECONDS:
            pictures += epoch()
        seconds, busy = time.perf_counter() - start, time.process_time() - start_busy
        print(pictures / seconds, busy / seconds, flush=True)


def describe(folders: dict[str, Path], made_here: bool) -> dict[str, Any]:
    """What was measured, on what, with what."""
    import PIL
    import simplejpeg
    import torch
    import torchvision

    from machine import describe_machine

    opencv = importlib.util.find_spec("cv2") is not None
    return {
        "what": "500x375 JPEGs to batches of random, mirrored crops of 224 with S in [256, 512], on one core; the best "
        f"of {ROUNDS} rounds of {SECONDS:g} s, in turn",
        "unit": "pictures a second; ratios are ours to theirs",
        "peer_is": "torchvision's reference: Pillow decodes; resize, crop, flip, to float, normalise; DataLoader",
        "tuned_peer_is": f"simplejpeg decodes, {'OpenCV' if opencv else 'Pillow'} resizes (linear), crop, flip, uint8; "
        "DataLoader; one worker process a core where there are several",
        "limit_is": "simplejpeg decodes to Pillow's pixels, and nothing else; photographs at the scale that ours uses",
        "machine": describe_machine(),
        "torch": torch.__version__,
        "versions": {
            "python": sys.version.split()[0],
            "torchvision": torchvision.__version__,
            "pillow": PIL.__version__,
            "simplejpeg": simplejpeg.__version__,
        },
        "pictures": {
            name: {
                "made": made_here or name != "500x375",
                "files": len(files := list(folder.rglob("*.*"))),
                "median_bytes": int(np.median([file.stat().st_size for file in files])),
            }
            for name, folder in folders.items()
        },
    }


# ---- The contestants: what runs through all pictures once and says how many they are ----


def ours(folder: Path, cores: int) -> Callable[[], int]:
    """The feed, as training uses it."""
    from verydeep.data.feed import Feed
    from verydeep.data.open import open_dataset
    from verydeep.data.training_views import TrainingViews
    from verydeep.device import keep_pages

    keep_pages()  # as training does
    feed = Feed(open_dataset(folder, "train"), TrainingViews(CROP, SMALLEST_SIDE), BATCH, threads=cores)
    epochs = count()
    return lambda: sum(len(batch) for batch in feed.batches(next(epochs)))


def torchvision(folder: Path, cores: int) -> Callable[[], int]:
    """The transforms of torchvision's references/classification, with S drawn as the paper does."""
    import torch
    from torchvision import transforms
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import functional

    def jitter(picture: object) -> object:
        return functional.resize(picture, int(torch.randint(SMALLEST_SIDE[0], SMALLEST_SIDE[1] + 1, ())))

    steps = [
        transforms.Lambda(jitter),
        transforms.RandomCrop(CROP),
        transforms.RandomHorizontalFlip(),
        transforms.PILToTensor(),
        transforms.ConvertImageDtype(torch.float),
        transforms.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    ]
    return load(ImageFolder(str(folder), transforms.Compose(steps)), cores)


def expert(folder: Path, cores: int) -> Callable[[], int]:
    """The fastest decoder and resize that an expert would reach for, uint8 to the end; the net normalises."""
    import torch
    from torchvision.datasets import ImageFolder

    linear = linear_resize()

    def read(path: str) -> tuple[np.ndarray, int]:
        import simplejpeg

        smallest_side = int(torch.randint(SMALLEST_SIDE[0], SMALLEST_SIDE[1] + 1, ()))
        encoded = Path(path).read_bytes()
        return simplejpeg.decode_jpeg(encoded, min_height=smallest_side, min_width=smallest_side), smallest_side

    def view(read: tuple[np.ndarray, int]) -> torch.Tensor:
        picture, smallest_side = read
        height, width, _ = picture.shape
        scale = smallest_side / min(height, width)
        picture = linear(picture, round(height * scale), round(width * scale))
        top = int(torch.randint(picture.shape[0] - CROP + 1, ()))
        left = int(torch.randint(picture.shape[1] - CROP + 1, ()))
        pixels = torch.from_numpy(picture[top : top + CROP, left : left + CROP]).permute(2, 0, 1)
        return pixels.flip(-1) if torch.rand(()) < 0.5 else pixels

    return load(ImageFolder(str(folder), view, loader=read), cores)


def linear_resize() -> Callable[[np.ndarray, int, int], np.ndarray]:
    """OpenCV's where it is installed, else Pillow's."""
    if importlib.util.find_spec("cv2") is None:
        from PIL import Image

        return lambda picture, height, width: np.array(
            Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
        )
    import cv2

    cv2.setNumThreads(1)
    return lambda picture, height, width: cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)


def load(dataset: object, cores: int) -> Callable[[], int]:
    """Batches of a DataLoader; of one core it makes the best use in its own process."""
    from torch.utils.data import DataLoader

    workers = cores if cores > 1 else 0
    loader = DataLoader(
        dataset,
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,
    )
    return lambda: sum(len(labels) for _, labels in loader)


def decoding(folder: Path, cores: int) -> Callable[[], int]:
    """Decoding alone, at the smallest scale that leaves S."""
    import simplejpeg

    generator = np.random.default_rng(0)
    files = sorted(folder.rglob("*.*"))

    def epoch() -> int:
        for file in files:
            encoded = file.read_bytes()
            smallest_side = int(generator.integers(*SMALLEST_SIDE, endpoint=True))
            height, width, _, _ = simplejpeg.decode_jpeg_header(encoded)
            divisor = next((d for d in (8, 4, 2) if min(height, width) // d >= smallest_side), 1)
            simplejpeg.decode_jpeg(encoded, min_height=height // divisor, min_width=width // divisor)
        return len(files)

    return epoch


# ---- The pictures ----


def make_pictures(folder: Path, width: int, height: int, files: int, names: int) -> Path:
    """JPEGs in class folders: pieces of two photographs with the noise of a camera, about 107 kB at 500 x 375.

    Each file gets several names, so that an epoch is long enough to keep two workers busy.
    """
    from PIL import Image
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(0)
    photographs = [Image.fromarray(photograph) for photograph in load_sample_images().images]
    for number in range(files):
        photograph = photographs[number % 2]
        piece_height = int(photograph.height * generator.uniform(0.6, 1))
        piece_width = piece_height * width // height
        left = int(generator.integers(photograph.width - piece_width, endpoint=True))
        top = int(generator.integers(photograph.height - piece_height, endpoint=True))
        box = (left, top, left + piece_width, top + piece_height)
        picture = np.asarray(photograph.resize((width, height), Image.Resampling.BICUBIC, box), np.int16)
        noise = generator.integers(-NOISE, NOISE, (height // 2 + 1, width // 2 + 1, 3), np.int8, endpoint=True)
        noisy = picture + noise.repeat(2, 0).repeat(2, 1)[:height, :width]
        file = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=95 if width < 1000 else 90)
        for name in range(names):
            path = folder / f"n{name:08}" / f"n{name:08}_{number}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            if name == 0:
                path.write_bytes(file.getvalue())
            else:
                path.hardlink_to(folder / "n00000000" / f"n00000000_{number}.JPEG")
    return folder


if __name__ == "__main__":
    main()
