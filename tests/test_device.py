import os
import platform
import subprocess
import sys
import textwrap

import pytest
import torch

from verydeep.device import (
    DATA_TYPES,
    LAYOUTS,
    Compute,
    available_memory,
    choose_compute,
    choose_device,
    clearly_fastest,
    container_memory,
    time_blocks,
)
from verydeep.errors import DeviceError

CPU = torch.device("cpu")
GLIBC = platform.libc_ver()[0] == "glibc"


def run(program):
    """What a program prints, in a process of its own, since settings of memory act on a whole process."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_auto_is_the_best_device_that_is_here():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == expected
    assert choose_device("cpu") == choose_device(CPU) == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "cpu:x"])
def test_a_device_that_is_not_here_is_refused_in_one_line(name):
    with pytest.raises(DeviceError, match=r"^device .*: is not here \(.*\); use cpu or auto$"):
        choose_device(name)


@pytest.mark.parametrize("data_type", DATA_TYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_the_recipe_decides_is_not_measured(data_type, layout):
    compute = choose_compute("cpu", data_type, layout)
    assert compute == Compute(CPU, DATA_TYPES[data_type], LAYOUTS[layout], "as the recipe says")


def test_of_what_is_left_open_the_fastest_is_chosen_and_the_figures_are_told():
    compute = choose_compute("cpu", "float32")
    assert compute.data_type == torch.float32
    assert compute.why.startswith("a convolution, its ReLU and its pool, there and back, took float32 channels_last ")
    assert compute.why.count(" ms") == 2
    assert choose_compute("cpu").why.count(" ms") == 4


@pytest.mark.parametrize(("bfloat16", "chosen"), [(0.5, torch.bfloat16), (0.9, torch.float32), (2, torch.float32)])
def test_half_precision_must_win_clearly(bfloat16, chosen):
    seconds = {(kind, layout): 1.0 for kind in DATA_TYPES.values() for layout in LAYOUTS.values()}
    seconds[torch.bfloat16, torch.channels_last] = bfloat16
    assert clearly_fastest(seconds) == (chosen, torch.channels_last)


def test_every_candidate_is_measured():
    candidates = [(kind, layout) for kind in DATA_TYPES.values() for layout in LAYOUTS.values()]
    seconds = time_blocks(CPU, candidates)
    assert list(seconds) == candidates
    assert all(0 < taken < float("inf") for taken in seconds.values())


@pytest.mark.skipif(not GLIBC, reason="the settings are glibc's")
@pytest.mark.parametrize("kept", [True, False])
def test_pages_that_are_kept_are_not_faulted_in_again(kept):
    kept_pages, first, later = run(f"""
        import resource, torch
        from verydeep.device import keep_pages

        def faults(n):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(n):
                torch.ones(64 << 18)  # 64 MiB
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

        kept, first = {kept} and keep_pages() and keep_pages(), faults(1)
        print(kept, first, min(faults(5) for _ in range(5)))  # a busy kernel may move pages in between
    """)
    assert kept_pages == str(kept)
    assert int(later) < 100 if kept else int(later) > 5 * 0.9 * int(first)


@pytest.mark.skipif(not GLIBC, reason="the settings are glibc's")
def test_what_is_not_used_takes_no_memory_and_forked_children_still_work():
    before, after = run("""
        import os, resource, torch
        from verydeep.device import keep_pages

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        keep_pages()
        if os.fork() == 0:
            os._exit(int(torch.ones(1000).sum()) != 1000)
        assert os.wait()[1] == 0
        print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """)
    assert int(after) - int(before) < 20_000  # KiB


@pytest.mark.skipif(not GLIBC, reason="the settings are glibc's")
def test_where_little_memory_may_be_promised_pages_are_kept_all_the_same():
    kept, total = run("""
        import resource, torch
        from verydeep.device import keep_pages

        resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
        print(keep_pages(), int(torch.ones(64 << 18).sum()))
    """)
    assert (kept, int(total)) == ("True", 64 << 18)


def test_memory_that_is_available_is_at_most_what_the_machine_has():
    assert 0 < available_memory(CPU) <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("prefix", "limit", "used", "cache"),
    [
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_a_container_leaves_its_limit_less_what_cannot_be_taken_back(tmp_path, prefix, limit, used, cache):
    folder = tmp_path / prefix
    folder.mkdir(exist_ok=True)
    (folder / limit).write_text("1000000\n")
    (folder / used).write_text("700000\n")
    (folder / "memory.stat").write_text(f"anon 400000\n{cache} 300000\n")
    assert container_memory(tmp_path) == 600_000


def test_a_container_without_a_limit_leaves_everything(tmp_path):
    assert container_memory(tmp_path) == float("inf")
    for name, content in (("memory.max", "max"), ("memory.current", "5"), ("memory.stat", "inactive_file 1")):
        (tmp_path / name).write_text(content)
    assert container_memory(tmp_path) == float("inf")
