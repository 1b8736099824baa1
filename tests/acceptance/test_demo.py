import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(1800)
def test_every_promise_of_the_tour_holds_on_the_real_model() -> None:
    tour = subprocess.run(
        [sys.executable, "-m", "app.cli.demo"], capture_output=True, text=True, check=False
    )
    assert tour.returncode == 0, tour.stdout + tour.stderr
    assert "checks held" in tour.stdout
