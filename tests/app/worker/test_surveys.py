"""A survey of many edits, and what ends it between two of its steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from torch.nn import Module

from app.facts.text import EditText
from app.worker.interruption import Interrupted, Interruption
from app.worker.measuring import measure
from app.worker.surroundings import Surroundings, Surveyor, Written
from editing_core.giving_way import GiveWay, go_on
from editing_core.model.loading import LoadedModel

_TEXT = "The king speaks, and they say that the king sleeps. " * 10
_STEP = 8  # forward passes: a generation has one a token


@dataclass
class Steps:
    """Counts forward passes, and notes how many there were at each step.

    Attributes:
        last: The step at which the survey is to end; None to let it go on.
    """

    last: int | None = None
    passes: int = 0
    at: list[int] = field(default_factory=list)

    @contextmanager
    def counting(self, model: LoadedModel) -> Iterator[GiveWay]:
        """What is to be called between two steps."""
        interruption = Interruption()

        def count(_module: Module, _args: object) -> None:
            self.passes += 1

        def step() -> None:
            self.at.append(self.passes)
            if len(self.at) == self.last:
                interruption.ask()
            interruption.step()

        handle = model.model.base_model.register_forward_pre_hook(count)
        yield step
        handle.remove()


@pytest.fixture(scope="module")
def survey(tiny_model: LoadedModel) -> Callable[[GiveWay], list[Surroundings]]:
    """Surveys twelve edits with ten prompts around each."""
    prompt = "The name of the {} is"
    texts = [EditText("king", prompt, prompt, f"{number} of Rome") for number in range(12)]
    model, tokenizer = tiny_model.model, tiny_model.tokenizer
    found = measure(model, tokenizer, texts)
    written = [Written(text, one, one) for text, one in zip(texts, found, strict=True)]
    surveyor = Surveyor(tokenizer, _TEXT)
    return lambda between: surveyor.survey(model, model, written, between)


def test_no_step_of_a_survey_is_longer_than_one_generation(
    survey: Callable[[GiveWay], list[Surroundings]], tiny_model: LoadedModel
) -> None:
    steps = Steps()
    with steps.counting(tiny_model) as between:
        found = survey(between)
    assert found == survey(go_on)
    assert steps.at[0] == 0
    lengths = [after - before for before, after in pairwise([*steps.at, steps.passes])]
    assert max(lengths) <= _STEP
    assert all(one.subject_drift == 0.0 for one in found)


def test_an_interruption_ends_a_survey_between_any_two_steps(
    survey: Callable[[GiveWay], list[Surroundings]], tiny_model: LoadedModel
) -> None:
    whole = Steps()
    with whole.counting(tiny_model) as between:
        survey(between)
    for last in range(1, len(whole.at) + 1):
        ended = Steps(last)
        with ended.counting(tiny_model) as between, pytest.raises(Interrupted):
            survey(between)
        assert ended.at == whole.at[:last]
        assert ended.passes == whole.at[last - 1]
