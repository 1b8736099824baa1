from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from app.resident.resident import Resident
from editing_core.measures.probe import score
from tests.acceptance.query.conftest import HEAD

ITEM = {"prompt": "The mother tongue of Danielle Darrieux is", "target": "English"}


def test_a_probe_is_the_mean_logprob_of_the_target_under_each_revision(
    api: TestClient, resident: Resident
) -> None:
    response = api.post("/v1/probe", json={"items": [ITEM], "revisions": [0, "head"]})
    answer = response.json()
    assert answer["revisions"] == {"0": 0, "head": HEAD}
    (result,) = answer["results"]
    prompt = resident.tokenizer(ITEM["prompt"])["input_ids"]
    target = resident.tokenizer(" English")["input_ids"]
    for name, revision in (("0", 0), ("head", HEAD)):
        with resident.view(revision) as view, torch.no_grad():
            logits = view.model(torch.tensor([prompt + target])).logits[0]
        said = logits[len(prompt) - 1 : -1].log_softmax(-1)
        spoken = said.gather(1, torch.tensor(target)[:, None])
        found = result["revisions"][name]
        assert found["logprob"] == pytest.approx(spoken.mean().item(), abs=1e-4)
        assert found["p"] == pytest.approx(spoken.mean().exp().item(), rel=1e-3)
        assert found["rank"] == int((said[0] > spoken[0]).sum()) + 1


def test_long_probes_are_measured_as_they_would_be_alone(api: TestClient) -> None:
    items = [{"prompt": "word " * count, "target": "end"} for count in (1, 90, 3, 90, 2)] * 20

    def scores(chosen: list[dict[str, str]]) -> list[float]:
        answer = api.post("/v1/probe", json={"items": chosen}).json()
        return [result["revisions"]["head"]["logprob"] for result in answer["results"]]

    together = scores(items)
    assert together[:5] == pytest.approx([scores([item])[0] for item in items[:5]], abs=1e-4)
    assert together[5:10] == pytest.approx(together[:5], abs=1e-4)


def _logprobs(api: TestClient, *items: dict[str, str]) -> list[float]:
    answer = api.post("/v1/probe", json={"items": items}).json()
    return [result["revisions"]["head"]["logprob"] for result in answer["results"]]


def test_a_probe_reads_the_text_as_it_will_stand(api: TestClient, resident: Resident) -> None:
    page, number = {"prompt": "See https://", "target": "www"}, {"prompt": "f(", "target": "42"}
    spaced = [page | {"separator": " "}, page | {"separator": ""}, page]
    written, told, plain = _logprobs(api, *spaced)
    assert told == pytest.approx(plain)
    assert written != pytest.approx(plain, abs=1e-3)
    with resident.view() as view:
        found = score(view.model, resident.tokenizer, [("See https://", "www"), ("f(", "42")])
    assert _logprobs(api, page, number) == pytest.approx([one.logprob for one in found], abs=1e-4)


def test_a_space_at_the_end_of_a_prompt_is_read_with_the_target(api: TestClient) -> None:
    spaced = ITEM | {"prompt": ITEM["prompt"] + " "}
    assert _logprobs(api, ITEM) == pytest.approx(_logprobs(api, spaced))
    answer = api.post("/v1/probe", json={"items": [ITEM, spaced, ITEM | {"separator": ""}]}).json()
    assert [result["separator"] for result in answer["results"]] == [" ", " ", ""]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"items": []}, 422, "items"),
        ({"items": [ITEM | {"target": ""}]}, 422, "items[0].target"),
        ({"items": [ITEM | {"prompt": "x" * 5001}]}, 422, "items[0].prompt"),
        ({"items": [ITEM | {"target": "x" * 5001}]}, 422, "items[0].target"),
        ({"items": [ITEM, {"prompt": "a"}]}, 422, "items[1].target"),
        ({"items": [ITEM | {"prompt": "word " * 500}]}, 400, "items[0].prompt"),
        ({"items": [ITEM], "revisions": [99]}, 404, None),
        ({"items": [{"prompt": "Ge", "target": "rman", "separator": ""}]}, 422, "items[0].target"),
        ({"items": [ITEM | {"separator": "-"}]}, 422, "items[0].separator"),
    ],
)
def test_a_bad_probe_names_what_is_wrong(
    api: TestClient, body: dict[str, Any], status: int, field: str | None
) -> None:
    response = api.post("/v1/probe", json=body)
    assert response.status_code == status
    assert response.json()["error"]["param"] == field


def test_items_times_revisions_are_limited_and_the_limit_is_told(api: TestClient) -> None:
    response = api.post("/v1/probe", json={"items": [ITEM] * 205, "revisions": [0, 1, 2, 2, 3, 4]})
    assert response.status_code == 422
    assert "205 items under 5 revisions are 1025" in response.json()["detail"]
    few = {"items": [ITEM], "revisions": [HEAD, "head", HEAD, 0]}
    (result,) = api.post("/v1/probe", json=few).json()["results"]
    assert list(result["revisions"]) == [str(HEAD), "head", "0"]
    assert result["revisions"][str(HEAD)] == result["revisions"]["head"] != result["revisions"]["0"]
