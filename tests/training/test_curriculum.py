"""What is asked about a clip, and what answers it."""

from __future__ import annotations

from pathlib import Path

import pytest

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.instructions import load_templates
from motiongpt3.training.curriculum import Wordings, write_curriculum
from motiongpt3.training.encoded_clips import encode_split
from tests import tiny
from tests.data.datasets import write_tiny


@pytest.mark.parametrize("lengths", [0.0, 1.0])
def test_questions_of_length_are_as_many_as_asked_for(tmp_path: Path, lengths: float) -> None:
    model = tiny.model(tiny.save_backbone(tmp_path / "backbone"))
    clips = encode_split(HumanML3DDataset(write_tiny(tmp_path / "data")), "train", model.codec)
    wordings = Wordings(captioning=12, bare_captioning=1.0, lengths=lengths, longest_answer=200)
    curriculum = write_curriculum(model, {"train": clips}, load_templates("all"), wordings)
    own_before, own_after = model.request_for("m2t").split("<Motion_Placeholder>")
    for clip, lessons in zip(clips, curriculum.plans["train"].captioning):
        for opening, after, answers in lessons:
            before = model.tokenizer.decode(curriculum.openings[opening])
            own = before.endswith(own_before) and model.tokenizer.decode(after).startswith(own_after + "\n")
            said = {model.tokenizer.decode(answer, skip_special_tokens=True) for answer in answers}
            # The model's own wording is always answered with captions.
            assert own == (lengths == 0.0)
            assert not own or said <= set(clip.captions)
