"""Settings of the parts of a recipe: one frozen record for values, for SPHERE and for each method.

A method with a knob of its own has a record here and a field of ``Recipe``; recipes that leave it
at its default keep their digest.
"""

from dataclasses import dataclass
from typing import Literal

PrincipalSource = Literal["original", "current", "every_k"]


@dataclass(frozen=True)
class ValueSettings:
    """How the target value z is optimised (ROME, arXiv 2202.05262, Eq. 4).

    Attributes:
        steps: Forward passes for one fact of a subject; there is one Adam update fewer.
        learning_rate: Adam's step size.
        clamp: Largest ‖δ‖ as a multiple of ‖z₀‖.
        weight_decay: ω in ω·‖δ‖/‖z₀‖².
        kl: κ, weight of the divergence at the subject's own last token.
        stop_loss: An edit whose total loss falls below this is finished.
        patience: An edit is finished, too, at the evaluation after this many at which every
            target token was the arg-max in every context (MPES of ENCORE, arXiv 2502.01636,
            for targets of any length); None to go on until ``stop_loss``, as published.
    """

    steps: int = 25
    learning_rate: float = 0.5
    clamp: float = 4.0
    weight_decay: float = 1e-3
    kl: float = 0.0625
    stop_loss: float = 0.05
    patience: int | None = None


@dataclass(frozen=True)
class SphereSettings:
    """What SPHERE spares, and how strongly.

    Attributes:
        eta: Share η of eigenvalue mass that the principal directions hold.
        alpha: Strength α on every method that has none of its own.
        principal_source: Weights whose directions are spared: the base's, the head's at every
            batch (the authors' code), or the head's every ``every_k`` batches.
        every_k: Batches for which directions are kept with ``every_k``.
    """

    eta: float = 0.5
    alpha: float = 0.8
    principal_source: PrincipalSource = "original"
    every_k: int = 10


@dataclass(frozen=True)
class MemitSettings:
    """MEMIT, and what is built on it.

    Attributes:
        weight: λ, weight of C; in units of the model's squared keys.
    """

    weight: float = 1500.0


@dataclass(frozen=True)
class AlphaEditSettings:
    """AlphaEdit; τ and L2 are in units of the model's squared keys.

    Attributes:
        tau: τ; eigenvectors of C below it span the null space.
        l2: Ridge.
        alpha: SPHERE's strength α on this method.
    """

    tau: float = 2e-2
    l2: float = 1.0
    alpha: float = 0.5


@dataclass(frozen=True)
class EmmetSettings:
    """EMMET.

    Attributes:
        ridge: λ_e for batches of more than one edit.
    """

    ridge: float = 0.1


@dataclass(frozen=True)
class FineTuneSettings:
    """How the FT baseline is trained: as in ROME (arXiv 2202.05262).

    Attributes:
        steps: Forward passes at most.
        learning_rate: Adam's step size.
        stop_loss: Mean loss at which training ends.
        largest_change: Bound on every entry of |ΔW|; None for none.
    """

    steps: int = 25
    learning_rate: float = 5e-4
    stop_loss: float = 1e-2
    largest_change: float | None = None
