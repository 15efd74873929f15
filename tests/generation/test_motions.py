"""Motions from words, and motions completed: what is given stays, and seams are joined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from motiongpt3.errors import InputError
from motiongpt3.generation.conversation import cut, ends_of, head_of
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.motion.motion import Motion
from tests import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def latent_model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.latent_model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def clip(model: MotionGPT3) -> Motion:
    (made,) = model.generate(["a person walks"], 64)
    return made


@pytest.mark.parametrize("frames", [32, 33, 40, 80])
@pytest.mark.parametrize("given", [2, 7, 8, 13])
def test_prediction_keeps_what_is_given(model: MotionGPT3, clip: Motion, frames: int, given: int) -> None:
    head = cut(clip, 0, given)
    (made,) = model.predict([head], frames)
    assert len(made) == frames
    assert torch.equal(made.joints[:given], head.joints)
    assert made.joints.isfinite().all()


def test_prediction_makes_the_given_part_a_fifth(model: MotionGPT3, clip: Motion) -> None:
    short, long = model.predict([cut(clip, 0, 10), cut(clip, 0, 30)])
    assert len(short) == 50
    # The most that the model makes.
    assert len(long) == 80


@pytest.mark.parametrize("frames", [33, 45, 64])
def test_inbetween_keeps_both_ends(model: MotionGPT3, clip: Motion, frames: int) -> None:
    head, tail = ends_of(clip)
    (made,) = model.inbetween([head], [tail], frames)
    assert len(made) == frames
    assert torch.equal(made.joints[: len(head)], head.joints)
    assert torch.equal(made.joints[-len(tail) :], tail.joints)


def test_official_layout_completes_as_well(latent_model: MotionGPT3, clip: Motion) -> None:
    head, tail = ends_of(clip)
    (continued,) = latent_model.predict([head], 40, guidance=1.0)
    (filled,) = latent_model.inbetween([head], [tail], 50, guidance=1.0)
    assert (len(continued), len(filled)) == (40, 50)
    assert torch.equal(continued.joints[: len(head)], head.joints)
    assert torch.equal(filled.joints[: len(head)], head.joints)
    assert torch.equal(filled.joints[-len(tail) :], tail.joints)


def test_what_is_given_decides_what_is_made(model: MotionGPT3, clip: Motion) -> None:
    head, tail = ends_of(clip)
    moved = replace(tail, joints=tail.joints + torch.tensor([1.0, 0.0, 2.0]), features=None)
    still = replace(head, joints=head.joints[:1].expand(len(head), -1, -1), features=None)
    plain, other_head, other_tail, other_seed = (
        model.inbetween([one], [other], 64, seeds=[seed])[0].joints[20:44]
        for one, other, seed in ((head, tail, 0), (still, tail, 0), (head, moved, 0), (head, tail, 1))
    )
    for other in (other_head, other_tail, other_seed):
        assert (plain - other).abs().max() > 0.01


def test_words_decide_what_is_made(model: MotionGPT3, clip: Motion) -> None:
    head = head_of(clip)
    first, second = (model.predict([head], 40, prompts=words)[0] for words in ("go on", "fall over"))
    assert (first.joints - second.joints).abs().max() > 1e-3


def test_a_batch_makes_the_same_motions(model: MotionGPT3, clip: Motion) -> None:
    heads = [cut(clip, 0, 5), cut(clip, 0, 20), cut(clip, 10, 21)]
    together = model.predict(heads, [30, 60, 41], seeds=[5, 6, 7])
    for head, frames, seed, made in zip(heads, (30, 60, 41), (5, 6, 7), together):
        (alone,) = model.predict([head], frames, seeds=[seed])
        torch.testing.assert_close(alone.joints, made.joints, atol=1e-4, rtol=1e-4)


def test_joints_without_features_are_taken_too(model: MotionGPT3, clip: Motion) -> None:
    joints = Motion.from_joints(clip.joints[:16], name="own")
    (made,) = model.predict([joints], 40)
    assert torch.equal(made.joints[:16], joints.joints)


def test_impossible_requests_are_refused(model: MotionGPT3, clip: Motion) -> None:
    head, tail = ends_of(clip)
    with pytest.raises(InputError, match="all 16 frames of a motion of 16 are given"):
        model.predict([head], 16)
    with pytest.raises(InputError, match="81 frames is outside"):
        model.predict([head], 81)
    with pytest.raises(InputError, match="30 frames a second; the model works at 20"):
        model.predict([replace(head, fps=30.0, features=None)], 40)
    with pytest.raises(InputError, match="1 prompts, 1 lengths, 1 seeds, 1 heads and 2 tails"):
        model.inbetween([head], [tail, tail], 64)
    with pytest.raises(InputError, match="2 frames"):
        cut(clip, 0, 1)


def test_length_is_predicted_for_words_alone(model: MotionGPT3, tmp_path: Path) -> None:
    assert len(model.generate(["a person walks"])[0]) % 8 == 0
