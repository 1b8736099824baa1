"""What is recorded of a revision beside its edits: where its matrices have got to."""

from collections.abc import Mapping

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.facts.revision_report import LayerDrift, RevisionReport, number_or_none
from app.resident.lineage import Change, History
from app.worker.effects import EffectGauge, reference_perplexity
from app.worker.solving import SolvedBatch
from editing_core.measures.collision import key_collisions
from editing_core.measures.energy import RowGram, hyperspherical_energy


def report_of_edits(batch: SolvedBatch, history: History, gauge: EffectGauge) -> RevisionReport:
    """The report of the revision that a solved batch becomes on the head."""
    keys = {layer: part.keys for layer, part in batch.solution.delta.layers.items()}
    return _report(
        batch.effects.perplexity,
        gauge.perplexity_tokens,
        canaries_kept=batch.effects.canaries_kept,
        energies={layer: after.energy for layer, (_, after) in batch.grams.items()},
        norms=batch.change.edited.weights.distances(history.head.weights),
        collisions=key_collisions(keys, history.recent_keys(leaving_out=batch.change.removed)),
    )


def report_of_undoing(
    change: Change, grams: Mapping[int, RowGram], history: History, gauge: EffectGauge
) -> RevisionReport:
    """The report of the revision that a revert or rollback makes on the head.

    Args:
        change: What it changes.
        grams: Row Gram matrices of the edited matrices as they will be.
        history: Has the head.
        gauge: Reads the reference text, and asks the canaries.
    """
    matrices = change.edited.matrices
    return _report(
        gauge.perplexity(matrices),
        gauge.perplexity_tokens,
        canaries_kept=gauge.canaries_kept(matrices),
        energies={layer: gram.energy for layer, gram in grams.items()},
        norms=change.edited.weights.distances(history.head.weights),
        collisions={},
    )


def report_of_base(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: Mapping[int, Tensor],
    tokens: int,
) -> RevisionReport:
    """The report of revision 0.

    Args:
        model: The unedited model.
        tokenizer: Its tokenizer.
        weights: The matrices that will be edited, layer → (d_out, d_in).
        tokens: How much of the reference text to read.
    """
    energies = {layer: hyperspherical_energy(weight) for layer, weight in weights.items()}
    return _report(
        reference_perplexity(model, tokenizer, tokens),
        tokens,
        canaries_kept=1.0,
        energies=energies,
        norms=dict.fromkeys(energies, 0.0),
        collisions={},
    )


def _report(
    perplexity: float,
    perplexity_tokens: int,
    *,
    canaries_kept: float,
    energies: Mapping[int, float],
    norms: Mapping[int, float],
    collisions: Mapping[int, float],
) -> RevisionReport:
    return RevisionReport(
        perplexity=number_or_none(perplexity),
        perplexity_tokens=perplexity_tokens,
        canaries_kept=canaries_kept,
        layers=[
            LayerDrift(
                layer=layer,
                energy=number_or_none(energy),
                delta_norm=number_or_none(norms[layer]),
                key_collision=collisions.get(layer),
            )
            for layer, energy in sorted(energies.items())
        ],
    )
