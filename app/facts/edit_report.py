"""What the worker measured of an edit: stored with it, shown with it."""

from pydantic import BaseModel, ConfigDict


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class EditWarning(_Report):
    """Something that readers of an edit should know; holds none of its words."""

    name: str
    message: str


class Standing(_Report):
    """Where the target stands after the prompt."""

    p_target: float
    """Geometric mean of the probabilities of the target's tokens."""
    rank_target: int
    """Place of its first token that is not blank; 1 is the most probable."""
    argmax: str | None
    """What is most probable there, in whole characters; None once the words were erased."""


class FirstInText(_Report):
    """The target after the prompt at the very beginning of a text, where no edit is in force."""

    p_target_before: float
    p_target_after: float


class ParaphraseReport(_Report):
    """The target after another wording, which is None once it was erased."""

    prompt: str | None
    p_target_before: float
    p_target_after: float


class NeighbourReport(_Report):
    """A prompt that should answer as before; None once it was erased."""

    prompt: str | None
    kept: bool
    """Whether its answer is still said; without one, whether it is continued as before."""


class LayerReport(_Report):
    """What the edit did to one edited matrix."""

    layer: int
    delta_norm: float
    """Frobenius norm of the edit's own part of the change."""
    achieved_fraction: float | None
    """Share of the wanted output change that this part makes at the edit's own key."""
    energy_before: float
    """Hyperspherical energy before the revision, relative to random neurons."""
    energy_after: float


class GateReport(_Report):
    """One check that the edit had to pass before it could be committed."""

    name: str
    measured: float | None
    """None where there was nothing to measure, or where no number came of it."""
    allowed: float
    passed: bool


class Said(_Report):
    """What a model makes of a target; no words."""

    p_target: float | None
    """Geometric mean of the probabilities of the target's tokens; None where it is no number."""
    match: bool
    """Whether every token of the target is the most probable at its place."""


class FactReport(_Report):
    """A live fact before and after a change; None once its words were erased."""

    edit: str
    before: Said | None
    after: Said | None

    @property
    def is_lost(self) -> bool:
        """Whether it was said and is not any more, or half as surely, or cannot be asked."""
        if self.before is None or self.after is None:
            return True
        before, after = self.before.p_target or 0.0, self.after.p_target or 0.0
        return self.before.match and not (self.after.match and after >= before / 2)


class PhaseSeconds(_Report):
    """Wall time of the batch the edit was solved in, by phase."""

    values: float
    keys: float
    solve: float
    projection: float
    gates: float
    """Time spent measuring before and after."""
    commit: float
    """Time to store the factors; the database transaction comes after."""


class EditReport(_Report):
    """The numbers of one edit; `after` and what follows are missing where nothing was computed."""

    before: Standing
    error: str | None = None
    """Why it could not be solved, in words."""
    after: Standing | None = None
    paraphrases: list[ParaphraseReport] = []
    neighbours: list[NeighbourReport] = []
    layers: list[LayerReport] = []
    gates: list[GateReport] = []
    siblings: list[FactReport] = []
    """The other facts of its subject that were live, or were solved with it."""
    value_steps: int | None = None
    value_loss: float | None = None
    seconds: PhaseSeconds | None = None
    warnings: list[EditWarning] = []
    first_in_text: FirstInText | None = None
    """Told where the edit is measured after a line break, since its subject comes first."""

    def without_words(self) -> "EditReport":
        """The numbers alone: no text that people wrote, or that would tell what they wrote."""
        return self.model_copy(
            update={
                "before": _wordless(self.before),
                "error": None,
                "after": None if self.after is None else _wordless(self.after),
                "paraphrases": [
                    found.model_copy(update={"prompt": None}) for found in self.paraphrases
                ],
                "neighbours": [
                    found.model_copy(update={"prompt": None}) for found in self.neighbours
                ],
            }
        )


def _wordless(standing: Standing) -> Standing:
    return standing.model_copy(update={"argmax": None})
