import subprocess
import sys

import pytest

# A thread that is always inside of torch, as one that loads or edits is.
_BUSY = """
import threading, torch
from app.cli.serve import leave

def work():
    rows = torch.randn(300, 300, requires_grad=True)
    begun.set()
    while True:
        (rows @ rows).sum().backward()

begun = threading.Event()
threading.Thread(target=work, daemon=True).start()
begun.wait()
leave({status})
"""


@pytest.mark.parametrize("status", [0, 1])
def test_a_process_leaves_with_its_status_whatever_its_threads_are_in(status: int) -> None:
    # `sys.exit` in the place of `leave` aborts with 134.
    done = subprocess.run(
        [sys.executable, "-c", _BUSY.replace("{status}", str(status))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, "")
