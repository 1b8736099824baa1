"""A sequence that is being generated, and the chunks that it sends."""

from collections.abc import Sequence

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from app.errors import InvalidField
from app.generation.choice_text import ChoiceText, end_tokens
from app.generation.detokenizer import Detokenizer
from app.generation.engine import Chunk, Prompt
from app.generation.request import EngineRequest
from app.generation.sampling import Sampler, TokenScore, choice_generator
from app.generation.scored import scored_token


class TokenSequence:
    """One continuation. Greedy choices of one prompt are all the same and share a sequence.

    Attributes:
        request: Whose it is.
        last: The token it said last.
        longest: Positions it may come to need.
        ended: Whether it is complete.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        request: EngineRequest,
        prompt: Prompt,
        choices: range,
    ) -> None:
        sampling = prompt.sampling
        self.request = request
        self.last = prompt.tokens[-1]
        self.longest = len(prompt.tokens) + sampling.max_tokens
        self.ended = False
        self._tokenizer = tokenizer
        self._scored = sampling.top_logprobs is not None
        self._choices = [prompt.index * prompt.n + choice for choice in choices]
        generator = choice_generator(sampling.seed, prompt.index, choices.start)
        self._sampler = Sampler(sampling, generator)
        self._text = ChoiceText(
            Detokenizer(tokenizer, prompt.tokens),
            ends=end_tokens(request.model, tokenizer),
            stop=sampling.stop,
            max_tokens=sampling.max_tokens,
        )

    @property
    def idle(self) -> bool:
        """Whether it needs no further step."""
        return self.ended or self.request.abandoned

    def take(self, logits: Tensor) -> None:
        """Choose the next token from what the model says, (vocabulary,), and tell the listener."""
        try:
            score = self._sampler.choose(logits)
        except InvalidField as error:  # its own, and no other sequence's
            self.request.fail(error)
            return
        self.last = score.id
        new = self._text.add(score.id)
        self.ended = new.finish_reason is not None
        scores = (scored_token(self._tokenizer, score),) if self._scored else ()
        self.request.deliver(
            [Chunk(choice, new.text, scores, 1, new.finish_reason) for choice in self._choices]
        )


def sequences_of(
    tokenizer: PreTrainedTokenizerBase, request: EngineRequest, prompt: Prompt
) -> list[TokenSequence]:
    """The sequences that a prompt needs."""
    if prompt.sampling.max_tokens == 0:
        return []
    each = prompt.n // prompt.slots
    return [
        TokenSequence(tokenizer, request, prompt, range(first, first + each))
        for first in range(0, prompt.n, each)
    ]


def prompt_chunks(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, scores: Sequence[TokenScore], *, done: bool
) -> list[Chunk]:
    """What reading a chunk of a prompt gives the listener: scores, and the end if none follows."""
    ended = done and prompt.sampling.max_tokens == 0
    if not scores and not ended:
        return []
    scored = tuple(scored_token(tokenizer, score) for score in scores)
    first = prompt.index * prompt.n
    return [
        Chunk(choice, "", scored, 0, "length" if ended else None)
        for choice in range(first, first + prompt.n)
    ]
