"""How far a model reaches: the positions it has, and the tokens it knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editing_core.edit import Edit, tokenise
from editing_core.errors import InvalidEdit
from editing_core.sink import contexts_of


@dataclass(frozen=True)
class Reach:
    """What a model can be given; an index beyond it is an error deep inside.

    Attributes:
        positions: Most tokens of one text; None where there is no fixed number.
        vocabulary: How many token ids have an embedding.
    """

    positions: int | None = None
    vocabulary: int | None = None

    @classmethod
    def of(cls, model: PreTrainedModel) -> Self:
        """The reach of a model, by its config and its embedding."""
        positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        return cls(positions, int(model.get_input_embeddings().get_parameter("weight").shape[0]))

    def allows(self, tokens: int) -> bool:
        """Whether a text may have so many tokens."""
        return self.positions is None or tokens <= self.positions

    def check(self, ids: Sequence[int], field: str) -> None:
        """Refuse a text that the model cannot read.

        Raises:
            InvalidEdit: It is too long, or has a token that the model does not know.
        """
        if not self.allows(len(ids)):
            raise InvalidEdit(
                field,
                f"{field} and what follows it are {len(ids)} tokens; this model has "
                f"{self.positions} positions",
            )
        unknown = [id for id in ids if self.vocabulary is not None and id >= self.vocabulary]
        if unknown:
            raise InvalidEdit(
                field,
                f"{field} has the token id {unknown[0]}, for which this model has no embedding: it "
                f"knows 0 to {(self.vocabulary or 0) - 1}",
            )

    def check_edit(
        self, tokenizer: PreTrainedTokenizerBase, edit: Edit, contexts: Sequence[str]
    ) -> None:
        """Refuse an edit that the model cannot read in every context it is written in.

        Raises:
            InvalidEdit: It is too long there, or has a token that the model does not know.
        """
        for context in contexts_of(tokenizer, edit, contexts):
            prompt = tokenise(tokenizer, edit, context)
            name = "prompt" if context == "{}" else f"prompt, in the context {context!r},"
            try:
                self.check(prompt.ids + prompt.target, name)
            except InvalidEdit as error:
                raise InvalidEdit("prompt", str(error)) from error
