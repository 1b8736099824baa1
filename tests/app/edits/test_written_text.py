"""What the worker makes of words: where they stand, and what it tells of them."""

import pytest

from app.database.tables.edits import EditStatus
from app.facts.edit_report import EditReport
from editing_core.measures.probe import score
from editing_core.reach import Reach
from tests.support.worker_service import Service

_WORD = "The"  # one token of the tiny tokenizer
_FIRST = "{} is a capital of"


def _report(service: Service, edit_id: str) -> EditReport:
    found = service.ended(edit_id)
    assert found.status is EditStatus.COMMITTED, found.operation.reason
    return EditReport.model_validate(found.report)


def _p(service: Service, prompt: str, target: str = "Rome") -> float:
    with service.resident.view() as head:
        (found,) = score(head.model, service.resident.tokenizer, [(prompt, target)])
    return found.p


def test_a_fact_of_the_first_word_is_measured_after_a_line_break_and_says_so(
    service: Service,
) -> None:
    filled = _FIRST.replace("{}", _WORD)
    before = _p(service, filled)
    report = _report(service, service.submit(_WORD, prompt=_FIRST))
    assert report.after is not None
    assert report.after.p_target == _close(_p(service, "\n" + filled))
    assert report.first_in_text is not None
    assert report.first_in_text.p_target_before == _close(before)
    assert report.first_in_text.p_target_after == _close(_p(service, filled))
    assert [warning.name for warning in report.warnings] == ["not_first_in_text"]
    assert report.without_words().warnings == report.warnings


def test_an_edit_of_a_later_word_has_nothing_to_warn_of(service: Service) -> None:
    report = _report(service, service.submit(_WORD, prompt="So {} is a capital of"))
    assert (report.first_in_text, report.warnings) == (None, [])


def test_paraphrases_are_measured_as_prompts_are(service: Service) -> None:
    prompt = "The capital of {} is \t"
    report = _report(service, service.submit("France", prompt=prompt, neighbours=["Italy is "]))
    assert report.after is not None
    assert report.after.p_target == _close(_p(service, "The capital of France is"))
    assert report.neighbours[0].prompt == "Italy is"
    assert [warning.name for warning in report.warnings] == ["prompt_without_space"]


def test_a_target_is_measured_without_a_space_where_none_belongs(service: Service) -> None:
    prompt = "{}的首都是"
    report = _report(service, service.submit("中国", prompt=prompt, target="上海"))
    assert report.after is not None
    assert report.after.p_target == _close(_p(service, "中国的首都是", "上海"))


def test_what_is_too_long_for_the_model_is_rejected_and_the_others_go_on(service: Service) -> None:
    positions = Reach.of(service.resident.base.model).positions
    assert positions is not None
    long = service.submit("France", prompt="The capital of {} is" + " that" * positions)
    other = service.submit("Italy")
    assert service.ended(long).status is EditStatus.REJECTED
    assert service.ended(long).operation.reason == "unreadable_prompt"
    assert service.ended(long).operation.attempts == 1
    assert service.ended(other).status is EditStatus.COMMITTED


def test_what_cannot_be_written_is_told_why_and_what_is_said_of_it(service: Service) -> None:
    """Of the fact alone: that its paraphrase cannot be read is why it is not edited."""
    positions = Reach.of(service.resident.base.model).positions
    assert positions is not None
    long = service.submit("France", neighbours=["The capital of Italy is" + " that" * positions])
    marked = service.submit("France", neighbours=["<|endoftext|>"])
    for edit, why in ((long, f"this model has {positions} positions"), (marked, "<|endoftext|>")):
        ended = service.ended(edit)
        assert ended.status is EditStatus.REJECTED
        report = EditReport.model_validate(ended.report)
        assert report.before.p_target == _close(_p(service, "The capital of France is"))
        assert report.error is not None
        assert why in report.error
        assert report.after is None


def test_what_the_model_cannot_read_at_all_has_no_report(service: Service) -> None:
    positions = Reach.of(service.resident.base.model).positions
    assert positions is not None
    long = service.submit("France", prompt="The capital of {} is" + " that" * positions)
    assert service.ended(long).operation.reason == "unreadable_prompt"
    assert service.ended(long).report is None


def _close(value: float) -> object:
    return pytest.approx(value, rel=1e-4)
