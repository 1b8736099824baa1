"""Another matrix of the blocks may be edited; a history of one is not continued with another."""

from pathlib import Path

import pytest

from tests.acceptance.server import calibrate_quickly, client, running
from tests.support.tiny import build_tiny_model

_WAIT_S = 120.0


def test_a_server_edits_where_its_setting_says_and_never_mixes_two_sites(tmp_path: Path) -> None:
    model, data = str(build_tiny_model(tmp_path / "tiny")), tmp_path / "data"
    calibrate_quickly(data)
    with running(data, model, ERRATA_SITE="attention") as server, client(server) as errata:
        # MEMIT would refuse: so short a text leaves the second moment singular.
        sent = errata.submit(
            "Rome", "{} is the capital of", "Spain", method="alphaedit+sphere", force=True
        )
        edit = errata.wait(sent.id, _WAIT_S)
        assert edit.status == "committed"
        assert edit.report is not None
        assert all(layer["delta_norm"] > 0 for layer in edit.report["layers"])
    refused = pytest.raises(pytest.fail.Exception, match="set ERRATA_SITE and the layers")
    with refused, running(data, model):
        pass
