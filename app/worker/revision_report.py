"""What is recorded of a revision beside its edits: where its matrices have got to."""

from collections.abc import Mapping

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from app.facts.revision_report import LayerDrift, RevisionReport, number_or_none
from app.resident.lineage import Change, Lineage
from app.worker.effects import EffectGauge, reference_perplexity
from app.worker.solving import SolvedBatch
from editing_core.measures.collision import key_collisions
from editing_core.measures.energy import RowGram, hyperspherical_energy


def report_of_edits(
    batch: SolvedBatch, lineage: Lineage, gauge: EffectGauge, recipe: str
) -> RevisionReport:
    """The report of the revision that a solved batch becomes on the head."""
    keys = {layer: part.keys for layer, part in batch.solution.delta.layers.items()}
    return _report(
        batch.effects.perplexity,
        gauge.perplexity_tokens,
        recipe=recipe,
        canaries_kept=batch.effects.canaries_kept,
        energies={layer: after.energy for layer, (_, after) in batch.grams.items()},
        norms=batch.change.edited.weights.distances(lineage.head_state.weights),
        collisions=key_collisions(keys, lineage.recent_keys(leaving_out=batch.change.removed)),
    )


def report_of_undoing(
    change: Change,
    grams: Mapping[int, RowGram],
    lineage: Lineage,
    gauge: EffectGauge,
    recipe: str,
) -> RevisionReport:
    """The report of the revision that a revert or rollback makes on the head.

    Args:
        change: What it changes.
        grams: Row Gram matrices of the edited matrices as they will be.
        lineage: Has the head.
        gauge: Reads the reference text, and asks the canaries.
        recipe: Digest of the recipe it is computed by.
    """
    matrices = change.edited.matrices
    return _report(
        gauge.perplexity(matrices),
        gauge.perplexity_tokens,
        recipe=recipe,
        canaries_kept=gauge.canaries_kept(matrices),
        energies={layer: gram.energy for layer, gram in grams.items()},
        norms=change.edited.weights.distances(lineage.head_state.weights),
        collisions={},
    )


def report_of_base(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    weights: Mapping[int, Tensor],
    tokens: int,
    recipe: str,
) -> RevisionReport:
    """The report of revision 0.

    Args:
        model: The unedited model.
        tokenizer: Its tokenizer.
        weights: The matrices that will be edited, layer → (d_out, d_in).
        tokens: How much of the reference text to read.
        recipe: Digest of the recipe that the first edits are computed by.
    """
    energies = {layer: hyperspherical_energy(weight) for layer, weight in weights.items()}
    return _report(
        reference_perplexity(model, tokenizer, tokens),
        tokens,
        recipe=recipe,
        canaries_kept=1.0,
        energies=energies,
        norms=dict.fromkeys(energies, 0.0),
        collisions={},
    )


def _report(
    perplexity: float,
    perplexity_tokens: int,
    *,
    recipe: str,
    canaries_kept: float,
    energies: Mapping[int, float],
    norms: Mapping[int, float],
    collisions: Mapping[int, float],
) -> RevisionReport:
    return RevisionReport(
        perplexity=number_or_none(perplexity),
        perplexity_tokens=perplexity_tokens,
        recipe_digest=recipe,
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
