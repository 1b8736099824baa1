"""One choice that is being continued, and what of it the listener is told."""

from collections.abc import Sequence

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from app.errors import InvalidField
from app.generation.detokenizer import Detokenizer
from app.generation.engine import Ask, Piece
from app.generation.request import Order
from app.generation.sampling import Sampler, TokenScore, choice_generator
from app.generation.scored import in_words
from app.generation.stopping import Writer, end_tokens


class Row:
    """One continuation. Greedy choices of one prompt are all the same and share a row.

    Attributes:
        order: Whose it is.
        last: The token it said last.
        longest: Positions it may come to need.
        ended: Whether it is complete.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, order: Order, ask: Ask, places: range
    ) -> None:
        sampling = ask.sampling
        self.order = order
        self.last = ask.tokens[-1]
        self.longest = len(ask.tokens) + sampling.max_tokens
        self.ended = False
        self._tokenizer = tokenizer
        self._scored = sampling.top_logprobs is not None
        self._choices = [ask.index * ask.n + place for place in places]
        generator = choice_generator(sampling.seed, ask.index, places.start)
        self._sampler = Sampler(sampling, generator)
        self._writer = Writer(
            Detokenizer(tokenizer, ask.tokens),
            ends=end_tokens(order.model, tokenizer),
            stop=sampling.stop,
            max_tokens=sampling.max_tokens,
        )

    @property
    def idle(self) -> bool:
        """Whether it needs no further step."""
        return self.ended or self.order.abandoned

    def take(self, logits: Tensor) -> None:
        """Choose the next token from what the model says, (vocabulary,), and tell the listener."""
        try:
            score = self._sampler.choose(logits)
        except InvalidField as error:  # its own, and no other row's
            self.order.fail(error)
            return
        self.last = score.id
        written = self._writer.add(score.id)
        self.ended = written.finish_reason is not None
        scores = (in_words(self._tokenizer, score),) if self._scored else ()
        self.order.deliver(
            [
                Piece(choice, written.text, scores, 1, written.finish_reason)
                for choice in self._choices
            ]
        )


def rows_of(tokenizer: PreTrainedTokenizerBase, order: Order, ask: Ask) -> list[Row]:
    """The rows that an ask needs."""
    if ask.sampling.max_tokens == 0:
        return []
    each = ask.n // ask.places
    return [
        Row(tokenizer, order, ask, range(first, first + each)) for first in range(0, ask.n, each)
    ]


def prompt_pieces(
    tokenizer: PreTrainedTokenizerBase, ask: Ask, scores: Sequence[TokenScore], *, done: bool
) -> list[Piece]:
    """What reading a piece of a prompt gives the listener: scores, and the end if none follows."""
    ended = done and ask.sampling.max_tokens == 0
    if not scores and not ended:
        return []
    words = tuple(in_words(tokenizer, score) for score in scores)
    first = ask.index * ask.n
    return [
        Piece(choice, "", words, 0, "length" if ended else None)
        for choice in range(first, first + ask.n)
    ]
