"""Values published for HumanML3D's test split, as printed in the papers named, by Guo et al.'s evaluator.

They can stand beside a result only if evaluator, data and protocol are the same.
"""

from __future__ import annotations

TEXT_TO_MOTION = (
    "FID",
    "R-precision 1",
    "R-precision 2",
    "R-precision 3",
    "matching score",
    "diversity",
    "multimodality",
)

_TEXT_TO_MOTION_ROWS = {
    "real motion (Guo et al. 2022)": (0.002, 0.511, 0.703, 0.797, 2.974, 9.503, None),
    "MLD (Chen et al. 2023)": (0.473, 0.481, 0.673, 0.772, 3.196, 9.724, 2.413),
    "T2M-GPT (Zhang et al. 2023)": (0.116, 0.491, 0.680, 0.775, 3.118, 9.761, 1.856),
    "MotionGPT (Jiang et al. 2023)": (0.232, 0.492, 0.681, 0.778, 3.096, 9.528, 2.008),
}
_MOTION_TO_TEXT = ("BLEU-1 (raw)", "BLEU-4 (raw)", "ROUGE-L (raw)", "CIDEr (raw)")
_MOTION_TO_TEXT_ROWS = {
    "MotionGPT, 4,400 clips, raw references": (0.4605, 0.1210, 0.3849, 0.3409),
}

PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    task: {
        row: {name: value for name, value in zip(names, values) if value is not None}
        for row, values in rows.items()
    }
    for task, names, rows in (
        ("t2m", TEXT_TO_MOTION, _TEXT_TO_MOTION_ROWS),
        ("m2t", _MOTION_TO_TEXT, _MOTION_TO_TEXT_ROWS),
    )
}
"""By task and row, the metrics under the names that this project gives them."""
