"""What a reader has to know about the numbers of one evaluation: what they leave out, what biases them."""

from __future__ import annotations

from collections import Counter

from motiongpt3.evaluation.protocol.setting import Setting


def notes(task: str, setting: Setting, replications: int) -> list[str]:
    """Sentences for the record, for whatever applies to this task, these clips and this evaluator."""
    found = []
    if task in ("t2m", "m2t"):
        found += _notes_on_pools(setting)
    if task != "m2t" and setting.evaluator is not None:
        found += _notes_on_clouds(setting, setting.evaluator.width)
    limit = setting.protocol.multimodality_replications
    if (
        task == "t2m"
        and setting.protocol.multimodality_captions
        and limit is not None
        and limit < replications
    ):
        found.append(f"Multimodality was measured in the first {limit} of {replications} replications.")
    return found


def _notes_on_pools(setting: Setting) -> list[str]:
    clips, size = setting.split.clips, setting.protocol.pool_size
    found = []
    if left := len(clips) % size:
        found.append(
            f"R-precision and matching score leave out {left} of {len(clips)} pairs in each replication, "
            f"others each time: they do not fill a pool of {size}."
        )
    counts = Counter(text for clip in clips for text in {caption.text for caption in clip.captions})
    sharing = sum(any(counts[caption.text] > 1 for caption in clip.captions) for clip in clips)
    if sharing:
        found.append(
            f"{sharing} of {len(clips)} clips have a caption that another clip has as well. In a pool, the "
            "other clip counts as a wrong match, as everywhere in the field, which keeps real clips below 1 "
            "as well."
        )
    return found


def _notes_on_clouds(setting: Setting, width: int) -> list[str]:
    count, pairs = len(setting.split.clips), setting.protocol.diversity_pairs
    found = []
    if count <= width:
        found.append(
            f"FID: {count} clips cannot fill the {width} dimensions of the evaluator, which raises it much; "
            "compare it with that of real halves."
        )
    if count < pairs:
        found.append(f"Diversity is a mean over {count // 2} pairs of clips, not {pairs}: there are too few.")
    return found
