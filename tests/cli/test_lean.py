"""The command's process has the settings of memory that it can only be born with."""

import json
import os
import subprocess
import sys

import pytest

from verydeep.cli.lean import SETTINGS

SCRIPT = """
import json, os, sys
from verydeep.cli.lean import SETTINGS, begin_lean
begin_lean()
print(json.dumps([os.getpid(), sys.argv[1:], {key: os.environ.get(key) for key in SETTINGS}, sys.stdin.read()]))
"""

pytestmark = pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="glibc reads these settings")


def begin(tmp_path, environment):
    """What a process finds after its new beginning, and its number."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    clean = {key: value for key, value in os.environ.items() if key not in SETTINGS} | environment
    process = subprocess.Popen([sys.executable, script, "a b", "--c"], env=clean, stdin=-1, stdout=-1, text=True)
    return json.loads(process.communicate("from a pipe")[0]), process.pid


def test_a_process_begins_anew_with_the_settings_its_arguments_and_its_input(tmp_path):
    found, number = begin(tmp_path, {})
    assert found == [number, ["a b", "--c"], SETTINGS, "from a pipe"]


def test_what_the_user_has_set_stays(tmp_path):
    theirs = {"GLIBC_TUNABLES": "glibc.malloc.check=1", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7"}
    assert begin(tmp_path, theirs)[0][2] == theirs
    assert begin(tmp_path, {"GLIBC_TUNABLES": ""})[0][2] == SETTINGS | {"GLIBC_TUNABLES": ""}
