import pytest
import torch

from app.generation.sampling import Sampler, Sampling, choice_generator, keep_nucleus, token_scores

LOGITS = torch.tensor([[0.5, 0.1, 0.25, 0.15]]).log()


def sampling(temperature: float = 1.0, top_p: float = 1.0) -> Sampling:
    return Sampling(
        max_tokens=1, temperature=temperature, top_p=top_p, stop=(), seed=7, top_logprobs=None
    )


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.0, [0]), (1e-9, [0]), (0.5, [0]), (0.6, [0, 2]), (0.76, [0, 2, 3]), (1.0, [0, 1, 2, 3])],
)
def test_the_nucleus_is_the_fewest_tokens_that_make_up_top_p(top_p: float, kept: list[int]) -> None:
    nucleus = keep_nucleus(LOGITS, top_p)
    assert nucleus[0].isfinite().nonzero().flatten().tolist() == kept
    assert torch.equal(nucleus[0, kept], LOGITS[0, kept])


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, [0.5, 0.1, 0.25, 0.15]),
        (1.0, 0.7, [2 / 3, 0.0, 1 / 3, 0.0]),
        (0.5, 1.0, [0.7246, 0.0290, 0.1812, 0.0652]),  # p² / Σ p²
    ],
)
def test_draws_have_the_distribution_asked_for(
    temperature: float, top_p: float, expected: list[float]
) -> None:
    rows = 4000
    chosen = [
        Sampler(sampling(temperature, top_p), choice_generator(1, 0, i)).choose(LOGITS[0]).id
        for i in range(rows)
    ]
    shares = torch.bincount(torch.tensor(chosen), minlength=4) / rows
    # Three standard deviations of a share are at most 0.024 here.
    torch.testing.assert_close(shares, torch.tensor(expected), atol=0.03, rtol=0)


def test_a_choice_draws_the_same_whatever_is_drawn_beside_it() -> None:
    def draws(sampler: Sampler, others: int) -> list[int]:
        beside = [Sampler(sampling(), choice_generator(1, 0, i)) for i in range(3, 3 + others)]
        drawn = []
        for _ in range(5):
            drawn.append(sampler.choose(torch.zeros(500)).id)
            for other in beside:
                other.choose(torch.zeros(500))
        return drawn

    alone = draws(Sampler(sampling(), choice_generator(1, 0, 2)), 0)
    torch.manual_seed(1)
    assert draws(Sampler(sampling(), choice_generator(1, 0, 2)), 4) == alone


def test_drawing_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    Sampler(sampling(), choice_generator(1, 0, 0)).choose(LOGITS[0])
    assert torch.equal(before, torch.random.get_rng_state())


def test_prompts_and_choices_of_one_seed_draw_differently() -> None:
    seeds = {
        choice_generator(seed, prompt, choice).initial_seed()
        for seed in (-1, 0, 1)
        for prompt in range(3)
        for choice in range(3)
    }
    assert len(seeds) == 27


def test_scores_are_those_of_the_model_before_temperature() -> None:
    (score,) = token_scores(LOGITS, torch.tensor([2]), top_logprobs=2)
    assert score.id == 2
    assert score.logprob == pytest.approx(LOGITS[0, 2].item())
    assert [token for token, _ in score.top] == [0, 2]
    assert [logprob for _, logprob in score.top] == pytest.approx(LOGITS[0, [0, 2]].tolist())


def test_an_impossible_token_has_a_finite_score() -> None:
    logits = torch.tensor([[0.0, -torch.inf]])
    (score,) = token_scores(logits, torch.tensor([1]), top_logprobs=0)
    assert score.logprob == -9999.0
