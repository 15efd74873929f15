"""Training a VQ-VAE: it learns, codes come into use, windows are whole codes, runs go on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.loaders import Draw, MotionClips, MotionWindows, pad_clips
from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.motion_tokenizer import MotionTokenizer
from motiongpt3.models.vq_vae import VQVAEConfig
from motiongpt3.training.optimization import OptimizerConfig
from motiongpt3.training.vq import VQTraining, VQWeights, train_vq, vq_terms
from tests import tiny
from tests.data.datasets import write_tiny

CONFIG = VQVAEConfig(**tiny.VQ_VAE)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("data") / "tiny")


def optimizer(steps: int, rate: float = 0.01) -> OptimizerConfig:
    return OptimizerConfig(learning_rate=rate, steps=steps, warmup_steps=2, average_decay=0.5)


def train(data: Path, out: Path, steps: int = 4, **settings: Any) -> MotionTokenizer:
    if "start_from" not in settings:
        settings["vq_vae"] = CONFIG
    settings = {"batch_size": 2, "window": 32, "validate_every": 2, "device": "cpu", **settings}
    folder = train_vq(data, out, optimizer(steps), **settings)
    assert folder == out / "model"
    return MotionTokenizer.from_pretrained(folder)


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of every training step."""
    found: list[float] = []
    step = VQTraining.training_step

    def recorded(self: VQTraining, batch: Any, batch_index: int) -> torch.Tensor:
        loss = step(self, batch, batch_index)
        found.append(float(loss))
        return loss

    monkeypatch.setattr(VQTraining, "training_step", recorded)
    return found


def test_overfits_a_tiny_dataset(data: Path, tmp_path: Path, losses: list[float]) -> None:
    tokenizer = train(data, tmp_path, 40, window=None, least_use=0.2)
    assert sum(losses[-4:]) < 0.85 * sum(losses[:4])
    assert torch.equal(tokenizer.feature_mean, torch.as_tensor(HumanML3DDataset(data).statistics.mean))
    rows = list(csv.DictReader((tmp_path / "logs" / "metrics.csv").open()))
    last = [row for row in rows if row["val/perplexity"]][-1]
    assert 1 <= float(last["val/perplexity"]) <= float(last["val/codes_used"]) <= 12
    assert float(last["val/root_aligned_mpjpe_mm"]) < float(last["val/global_mpjpe_mm"])


def test_interrupted_training_goes_on(
    data: Path, tmp_path: Path, losses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = VQTraining.training_step

    def fails(self: VQTraining, batch: Any, batch_index: int) -> torch.Tensor:
        if self.global_step == 3:
            # The averages of the codebook came back as well.
            raise RuntimeError("the power fails")
        return recorded(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(VQTraining, "training_step", fails)
        with pytest.raises(RuntimeError, match="power"):
            train(data, tmp_path, 4)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert bool(saved["averages.started"])
    assert not (tmp_path / "model").exists()
    losses.clear()
    train(data, tmp_path, 4)
    assert len(losses) == 2


def test_goes_on_from_a_finished_tokenizer(data: Path, tmp_path: Path) -> None:
    first = train(data, tmp_path / "first")
    # Hardly moves in one tiny step: neither network nor codebook starts anew.
    again = MotionTokenizer.from_pretrained(
        train_vq(
            data,
            tmp_path / "second",
            OptimizerConfig(learning_rate=1e-7, steps=1, warmup_steps=0),
            start_from=tmp_path / "first" / "model",
            least_use=0.0,
            batch_size=2,
            validate_every=1,
            device="cpu",
        )
    )
    for name, tensor in first.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, atol=0.05, rtol=0.1)


def test_windows_are_whole_codes_at_drawn_places(data: Path) -> None:
    dataset = HumanML3DDataset(data)
    clips = MotionClips(dataset, dataset.segments("train"))
    windows = MotionWindows(clips, 4, 34)
    assert windows.lengths == [min(length, 34) // 4 * 4 for length in clips.lengths]
    assert max(windows.lengths) == 32
    longest = windows.lengths.index(32)
    starts = set()
    for place in range(30):
        window = windows[Draw(longest, (0, 0, place))]
        assert torch.equal(window, windows[Draw(longest, (0, 0, place))])
        whole = clips[longest].unfold(0, 32, 1).transpose(1, 2)
        starts.add(int((whole == window).flatten(1).all(dim=1).nonzero()[0]))
    assert len(starts) > 5
    whole_clips = MotionWindows(clips, 4)
    assert whole_clips.lengths == [length // 4 * 4 for length in clips.lengths]
    assert torch.equal(whole_clips[longest], clips[longest][: whole_clips.lengths[longest]])


def test_loss_is_the_official_one() -> None:
    torch.manual_seed(0)
    features, made = torch.randn(2, 8, 263), torch.randn(2, 8, 263)
    lengths = torch.tensor([8, 4])
    terms = vq_terms(made, features, lengths)
    real = [(made[0], features[0]), (made[1, :4], features[1, :4])]
    both = [torch.cat(parts) for parts in zip(*real)]
    torch.testing.assert_close(terms["features"], F.smooth_l1_loss(*both))
    # The local positions, which the official code calls velocity.
    torch.testing.assert_close(terms["local_positions"], F.smooth_l1_loss(both[0][:, 4:67], both[1][:, 4:67]))
    assert VQWeights() == VQWeights(features=1.0, local_positions=0.5, commitment=0.02)


def test_gradients_pass_straight_through_the_codes() -> None:
    torch.manual_seed(0)
    tokenizer = tiny.motion_tokenizer().train()
    module = VQTraining(tokenizer, VQWeights(commitment=0.0), optimizer(1))
    with pytest.warns(UserWarning, match="self.log"):
        module.training_step(pad_clips([torch.randn(16, 263), torch.randn(8, 263)]), 0).backward()
    still = [name for name, p in tokenizer.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_settings_that_contradict_are_refused(data: Path, tmp_path: Path) -> None:
    for settings in ({}, {"vq_vae": CONFIG, "start_from": tmp_path}):
        with pytest.raises(ConfigError, match="start_from"):
            train_vq(data, tmp_path / "out", optimizer(1), **settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="window: 3 frames"):
        train(data, tmp_path / "out", window=3)
    with pytest.raises(ConfigError, match="64 frames, but a clip has only 30"):
        train_vq(data, tmp_path / "out", optimizer(1), VQVAEConfig(**{**tiny.VQ_VAE, "halvings": 6}))
    with pytest.raises(InputError, match="no dataset"):
        train(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()
