"""Finding an evaluator: what a folder holds decides which kind it is."""

from __future__ import annotations

from pathlib import Path

from motiongpt3.errors import InputError
from motiongpt3.evaluation.evaluators.interface import Evaluator
from motiongpt3.evaluation.evaluators.t2m import is_t2m_folder, load_t2m_evaluator
from motiongpt3.evaluation.evaluators.tmr import is_tmr_folder, load_tmr_evaluator
from motiongpt3.evaluation.evaluators.trained import load_trained_evaluator
from motiongpt3.models.locate import find_model

DEFAULT_EVALUATOR = "models/mini-evaluator"


def load_evaluator(
    where: str | Path = DEFAULT_EVALUATOR, packed: bool = True, device: str = "cpu"
) -> Evaluator:
    """The evaluator in a folder: Guo et al.'s or TMR's published files, or one that this project trained.

    Args:
        where: folder; a name in ``models/``; for Guo et al.'s the folder with ``text_mot_match`` in it,
            for TMR's that with ``last_weights``.
        packed: read clips to their own ends; False only where Guo et al.'s networks should read padding.
        device: where to compute.

    Raises:
        InputError: if there is no evaluator.
        CheckpointError: if it is damaged or of another kind.
    """
    folder = Path(where)
    for place in (folder, folder / "t2m", folder / "t2m" / "t2m"):
        if is_t2m_folder(place):
            return load_t2m_evaluator(place, packed=packed, device=device)
    if is_tmr_folder(folder):
        return load_tmr_evaluator(folder, device)
    try:
        found = find_model(str(where))
    except InputError as error:
        raise InputError(
            f"no evaluator: {error}; train one (motiongpt3 train configs/mini/evaluator.yaml), or fetch the "
            "field's (motiongpt3 download t2m-evaluators)"
        ) from None
    return load_trained_evaluator(found, device)
