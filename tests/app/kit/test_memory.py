import subprocess
import sys

_SCRIPT = """
import gc
from app.kit.memory import pass_over_what_is_there

made_at_start = [[] for _ in range(1000)]
pass_over_what_is_there()
assert gc.get_freeze_count() > 1000
assert not any(found is made_at_start for found in gc.get_objects())
later = []
later.append(later)
del later
assert gc.collect() > 0
"""


def test_the_collector_passes_over_what_a_start_made_and_still_finds_later_garbage() -> None:
    # In a process of its own: what is frozen stays so.
    subprocess.run([sys.executable, "-c", _SCRIPT], check=True)
