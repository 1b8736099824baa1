"""`make device-check` to its end, on the host with a tiny shape."""

import os
import subprocess
import sys
from pathlib import Path

_REPOSITORY = Path(__file__).parent.parent.parent


def test_the_device_check_runs_to_its_end_and_finds_the_host_equal_to_itself() -> None:
    command = [sys.executable, "-m", "benchmarks.device", "--device", "cpu", "--shape", "tiny"]
    wide = os.environ | {"COLUMNS": "160"}
    ended = subprocess.run(
        command, cwd=_REPOSITORY, env=wide, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for line in (
        "values, solved on cpu: worst of 18 methods",
        "keys, alphaedit+sphere, model in bfloat16",
        "weights after it are the base's",
        "solved on cpu, batch of 2: s an edit",
        "solved on cpu, batch of 2: SPHERE's share",
        "values, batch of 2: share of the GEMM rate",
        "solved on cpu, batch of 2: peak memory above the model's, GB",
    ):
        assert line in ended.stdout
