import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verydeep.errors import WeightsError
from verydeep.nets.registry import load_net
from verydeep.weights.checkpoint import read_checkpoint

FORMS = [True, False]  # a zip archive, a row of pickles


class Runs:
    """An object whose pickle would run a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", FORMS)
def test_a_pickle_with_code_is_refused_and_not_run(zipped, tmp_path, refused):
    bad = {"features.0.weight": torch.zeros(1), "more": Runs(f"touch {tmp_path}/ran")}
    torch.save(bad, tmp_path / "bad.pth", _use_new_zipfile_serialization=zipped)
    assert refused(load_net, tmp_path / "bad.pth") == (
        f"{tmp_path}/bad.pth: refused, it would call posix.system, which weights have no need of; save net.state_dict()"
    )
    (tmp_path / "bare.pkl").write_bytes(pickle.dumps(Runs(f"touch {tmp_path}/ran")))
    assert refused(load_net, tmp_path / "bare.pkl").startswith(f"{tmp_path}/bare.pkl: ")
    assert not (tmp_path / "ran").exists()


def test_a_whole_module_is_refused(tmp_path, refused):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "module.pth")
    line = refused(load_net, tmp_path / "module.pth")
    assert "refused, it would call torch.nn.modules.linear.Linear" in line


def test_a_program_is_refused(tmp_path, refused):
    with zipfile.ZipFile(tmp_path / "program.pt", "w") as archive:
        for name in ("data.pkl", "code/__torch__.py", "constants.pkl"):
            archive.writestr(f"program/{name}", b"")
    assert "is a program (TorchScript), which is not run here" in refused(load_net, tmp_path / "program.pt")


@pytest.mark.parametrize("zipped", FORMS)
def test_what_is_no_state_dict_is_refused(zipped, tmp_path, refused):
    for value, kind in (([1, 2], "list"), (7, "int"), ({"epoch": 3}, "dict"), ({"state_dict": {}}, "dict")):
        torch.save(value, tmp_path / "some.pth", _use_new_zipfile_serialization=zipped)
        assert f"holds no state dict but a {kind}" in refused(read_checkpoint, tmp_path / "some.pth")


def test_a_tensor_that_is_not_plain_is_refused(tmp_path, refused):
    torch.save({"t": torch.zeros(3, device="meta")}, tmp_path / "some.pth")
    assert refused(read_checkpoint, tmp_path / "some.pth").endswith("t is no plain tensor; save it as one")


@pytest.mark.parametrize("zipped", FORMS)
def test_a_tensor_larger_than_its_file_is_refused(zipped, tmp_path, refused):
    torch.save({"t": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "some.pth", _use_new_zipfile_serialization=zipped)
    assert "says that it holds more than the file has" in refused(read_checkpoint, tmp_path / "some.pth")
    torch.save({"t": torch.zeros(1).expand(1500)}, tmp_path / "some.pth", _use_new_zipfile_serialization=zipped)
    assert "t says that it is 1500, more than the file has" in refused(read_checkpoint, tmp_path / "some.pth")


LIMITED = """
import resource, sys
import torch
from verydeep.errors import WeightsError
from verydeep.weights.checkpoint import read_checkpoint
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
try:
    read_checkpoint(Path(sys.argv[1]))
except WeightsError as error:
    print(error)
"""


def test_a_storage_that_claims_a_terabyte_takes_no_memory(tmp_path):
    torch.save({"t": torch.zeros(7)}, tmp_path / "some.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "some.pth").read_bytes()
    seven, huge = b"K\x07", b"\x8a\x05\x00\x00\x00\x00\x40"  # BININT1 7, LONG1 2**38
    assert content.count(seven) == 2  # of the storage and of the tensor
    (tmp_path / "some.pth").write_bytes(content.replace(seven, huge))
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "some.pth")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"{tmp_path}/some.pth: says that it holds more than the file has; copy it again\n"


def test_an_archive_that_unpacks_to_more_is_refused(tmp_path, refused):
    torch.save({"t": torch.zeros(10**6)}, tmp_path / "some.pth")
    with (
        zipfile.ZipFile(tmp_path / "some.pth") as plain,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for entry in plain.infolist():
            small.writestr(entry.filename, plain.read(entry))
    assert "is compressed, which torch.save does not do" in refused(read_checkpoint, tmp_path / "small.pth")


def test_archives_of_other_things_are_refused(tmp_path, refused):
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("holiday.jpg", b"picture")
    assert "is an archive, but not of weights" in refused(load_net, tmp_path / "some.zip")


@pytest.fixture(scope="module", params=FORMS)
def small(request, tmp_path_factory):
    tensors = OrderedDict((f"features.{place}.weight", torch.ones(2, 3, 3, 3)) for place in (0, 3, 6))
    path = tmp_path_factory.mktemp("checkpoint") / "small.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=request.param)
    return path


@pytest.mark.slow
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), other=st.binary(min_size=1, max_size=6), cut=st.booleans())
def test_a_damaged_file_is_read_or_refused_in_one_line(small, tmp_path, data, other, cut):
    content = small.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    (tmp_path / "damaged.pth").write_bytes(content[:place] + (b"" if cut else other + content[place + len(other) :]))
    try:
        load_net(tmp_path / "damaged.pth")
        line = ""
    except WeightsError as error:
        line = str(error)
    assert line.startswith(f"{tmp_path}/damaged.pth: ")
    assert "\n" not in line
