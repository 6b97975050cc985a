"""Backends that cheat or err, each a few lines on top of the float64 reference, by what is wrong with them."""

from tests.sabotage.saboteurs import (
    activations,
    adam,
    afterwards,
    blocks,
    forward,
    loss,
    normalization,
    outputs,
    schedules,
    steps,
    timing,
    update,
    weights,
)
from tests.sabotage.saboteurs.saboteur import EVERYTHING, EXPERIMENTS, VANISHING, Saboteur
from tests.sabotage.saboteurs.update import MINT

SABOTEURS = (
    *weights.SABOTEURS,
    *forward.SABOTEURS,
    *loss.SABOTEURS,
    *update.SABOTEURS,
    *steps.SABOTEURS,
    *outputs.SABOTEURS,
    *afterwards.SABOTEURS,
    *timing.SABOTEURS,
    *activations.SABOTEURS,
    *blocks.SABOTEURS,
    *normalization.SABOTEURS,
    *adam.SABOTEURS,
    *schedules.SABOTEURS,
)
"""Those that need nothing but NumPy."""

__all__ = ["EVERYTHING", "EXPERIMENTS", "MINT", "SABOTEURS", "VANISHING", "Saboteur"]
