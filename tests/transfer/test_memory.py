import subprocess
import sys
import textwrap

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
@pytest.mark.slow  # a process of its own, pictures of 1.2 GB
def test_a_set_larger_than_memory_is_described_kept_and_fitted(tmp_path):
    program = """
        import resource
        import sys
        from dataclasses import dataclass
        from pathlib import Path

        import numpy as np
        import torch

        from verydeep.data.dataset import Dataset
        from verydeep.nets.registry import create_net
        from verydeep.transfer.fit import fit_transfer

        SIDE, IMAGES, LIMIT = 1600, 160, 300 << 20  # 7.7 MB a picture, 1.2 GB in all

        @dataclass(frozen=True, eq=False, kw_only=True)
        class Made(Dataset):
            def picture(self, index, at_least=None, fast=False, rows=None):
                number = int(self.images[index])
                return np.full((SIDE, SIDE, 3), (40, 40 + 150 * (number % 2), number % 9), np.uint8)

            def size(self, index):
                return SIDE, SIDE

            def content(self, index):
                return int(self.images[index]).to_bytes(32, "little")

        def made(first, count):
            numbers = np.arange(first, first + count)
            return Made(kind="made", root=Path("made"), split="all", classes=("a", "b"), names={},
                        images=tuple(map(str, numbers)), labels=numbers % 2)

        torch.set_num_threads(1)
        net = create_net("vgg-a-bn", width=1 / 16, crop=32, hidden=4, classes="ab", start="he")
        train, test = made(0, IMAGES - 40), made(IMAGES - 40, 40)
        options = {"layer": "pool2", "scales": [32, 40], "Cs": [1.0], "device": "cpu", "threads": 1}
        held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (held + LIMIT, resource.RLIM_INFINITY))
        for _ in range(2):  # made, and from the cache
            found = fit_transfer(net, train, test, cache=sys.argv[1], **options)
            print(found.scores["top1_error"])
        try:
            [data.picture(index) for data in (train, test) for index in range(len(data))]
        except MemoryError:
            print("would not fit")
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["0.0", "0.0", "would not fit"]
