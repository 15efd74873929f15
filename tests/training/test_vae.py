"""Training a VAE: it learns, its latents come out with unit variance, a frozen encoder stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.loaders import MotionClips, pad_clips
from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.codec import MotionCodec, build_vae
from motiongpt3.models.vae import visible_frames
from motiongpt3.training.optimization import OptimizerConfig
from motiongpt3.training.reconstruction import ReconstructionWeights
from motiongpt3.training.runs import RunConfig
from motiongpt3.training.vae import ENCODER_PARTS, VAETraining, set_latent_statistics, train_vae
from tests import tiny
from tests.data.datasets import write_tiny


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("data") / "tiny")


def optimizer(steps: int, rate: float = 0.01) -> OptimizerConfig:
    return OptimizerConfig(learning_rate=rate, steps=steps, warmup_steps=2, average_decay=0.7)


def train(data: Path, out: Path, steps: int = 4, **settings: Any) -> MotionCodec:
    if "start_from" not in settings:
        settings["vae"] = tiny.VAE
    folder = train_vae(data, out, optimizer(steps), batch_size=2, validate_every=2, device="cpu", **settings)
    assert folder == out / "model"
    return MotionCodec.from_pretrained(folder)


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of every training step."""
    found: list[float] = []
    step = VAETraining.training_step

    def recorded(self: VAETraining, batch: Any, batch_index: int) -> torch.Tensor:
        loss = step(self, batch, batch_index)
        found.append(float(loss))
        return loss

    monkeypatch.setattr(VAETraining, "training_step", recorded)
    return found


def test_overfits_a_tiny_dataset(data: Path, tmp_path: Path, losses: list[float]) -> None:
    train(data, tmp_path, 30, crop=0.0)
    assert len(losses) == 30
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])


@torch.no_grad()
def test_latents_of_the_training_clips_come_out_normalised(data: Path, tmp_path: Path) -> None:
    codec = train(data, tmp_path)
    dataset = HumanML3DDataset(data)
    assert torch.equal(codec.feature_mean, torch.as_tensor(dataset.statistics.mean))
    clips = MotionClips(dataset, dataset.segments("train"))
    batch = pad_clips([clips[index] for index in range(len(clips))])
    mean, std = codec.encode(batch.features, batch.lengths)
    real = mean[visible_frames(codec.latent_counts(batch.lengths), mean.shape[1])]
    torch.testing.assert_close(real.mean(dim=0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(real.std(dim=0), torch.ones(4), atol=1e-4, rtol=0)
    assert std.isfinite().all()


@torch.no_grad()
def test_statistics_do_not_depend_on_those_before(data: Path) -> None:
    dataset = HumanML3DDataset(data)
    clips = MotionClips(dataset, dataset.segments("train"))
    codec, other = tiny.codec(), tiny.codec()
    other.latent_mean.fill_(9)
    for one, batch_size in ((codec, 1), (other, 32)):
        set_latent_statistics(one, clips, batch_size)
    torch.testing.assert_close(codec.latent_mean, other.latent_mean)
    torch.testing.assert_close(codec.latent_std, other.latent_std)


def test_same_seed_trains_the_same_model(data: Path, tmp_path: Path) -> None:
    first, again, other = (
        train(data, tmp_path / name, seed=seed).state_dict() for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert all(torch.equal(first[name], tensor) for name, tensor in again.items())
    assert not all(torch.equal(first[name], tensor) for name, tensor in other.items())


def test_frozen_encoder_stays_bit_for_bit(data: Path, tmp_path: Path) -> None:
    before = train(data, tmp_path / "first").state_dict()
    after = train(
        data,
        tmp_path / "second",
        start_from=tmp_path / "first" / "model",
        freeze_encoder=True,
        latent_noise=0.3,
    ).state_dict()
    kept = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    frozen = {name for name in before if name.split(".")[:2][-1] in ENCODER_PARTS}
    statistics = {"feature_mean", "feature_std", "latent_mean", "latent_std"}
    assert kept == frozen | statistics
    assert len(frozen) > 4


def test_training_goes_on_from_a_trained_codec(data: Path, tmp_path: Path) -> None:
    before = train(data, tmp_path / "first", 20)
    slow = train_vae(
        data,
        tmp_path / "second",
        optimizer(1, rate=1e-9),
        start_from=tmp_path / "first" / "model",
        validate_every=1,
        device="cpu",
    )
    after = MotionCodec.from_pretrained(slow)
    for name, tensor in before.vae.state_dict().items():
        torch.testing.assert_close(after.vae.state_dict()[name], tensor, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [tiny.VAE, tiny.MLD_VAE], ids=["temporal", "mld"])
def test_encoder_parts_are_what_encoding_depends_on(kind: dict[str, Any]) -> None:
    vae = build_vae(kind)
    tiny.randomise(vae)
    torch.manual_seed(0)
    lengths = torch.tensor([16])
    mean, log_variance = vae.encode(torch.randn(1, 16, 263), lengths)
    (mean.square().sum() + log_variance.square().sum()).backward()
    used = {
        name.partition(".")[0] for name, p in vae.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert used == {name for name, _ in vae.named_children() if name in ENCODER_PARTS} | (
        {"global_motion_token"} if kind is tiny.MLD_VAE else set()
    )
    vae.zero_grad()
    vae.decode(mean.detach(), lengths).sum().backward()
    decoding = {
        name.partition(".")[0] for name, p in vae.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert not decoding & ENCODER_PARTS


def test_latent_noise_is_given_to_half_of_the_clips() -> None:
    codec = tiny.codec()
    decoded: list[torch.Tensor] = []
    decode = codec.vae.decode
    codec.vae.decode = lambda latents, lengths: decoded.append(latents) or decode(latents, lengths)  # type: ignore
    batch = pad_clips([0.1 * torch.randn(16, 263)] * 200)
    for noise in (0.0, 1.0):
        torch.manual_seed(0)
        with pytest.warns(UserWarning, match="self.log"):
            VAETraining(codec, ReconstructionWeights(), optimizer(1), noise).training_step(batch, 0)
    with torch.no_grad():
        mean, log_variance = codec.vae.encode(
            (batch.features - codec.feature_mean) / codec.feature_std, batch.lengths
        )
    torch.manual_seed(0)
    plain = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    torch.testing.assert_close(decoded[0], plain)
    changed = (decoded[1] - plain).abs().amax(dim=(1, 2)) > 1e-5
    assert 0.35 < changed.float().mean() < 0.65
    deviation = ((decoded[1] - plain)[changed] / codec.latent_std).std()
    assert float(deviation) == pytest.approx(1.0, abs=0.15)


def test_interrupted_training_goes_on(
    data: Path, tmp_path: Path, losses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = VAETraining.training_step

    def fails(self: VAETraining, batch: Any, batch_index: int) -> torch.Tensor:
        if self.global_step == 5:
            raise RuntimeError("the power fails")
        return recorded(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(VAETraining, "training_step", fails)
        with pytest.raises(RuntimeError, match="power"):
            train(data, tmp_path, 8)
    assert not (tmp_path / "model").exists()
    losses.clear()
    train(data, tmp_path, 8)
    assert len(losses) == 4
    losses.clear()
    train(data, tmp_path, 8)
    assert losses == []


def test_run_is_set_up_as_told(data: Path, tmp_path: Path, losses: list[float]) -> None:
    train(data, tmp_path, run=RunConfig(accumulate=2, keep_every=3))
    assert len(losses) == 8
    assert (tmp_path / "checkpoints" / "step-3.ckpt").is_file()


def test_settings_that_contradict_are_refused(data: Path, tmp_path: Path) -> None:
    for settings in (
        {},
        {"vae": tiny.VAE, "start_from": tmp_path},
        {"vae": tiny.VAE, "freeze_encoder": True},
        {"vae": tiny.VAE, "latent_noise": 0.1},
    ):
        with pytest.raises(ConfigError, match="start_from"):
            train_vae(data, tmp_path / "out", optimizer(1), **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_split_without_clips_is_refused(tmp_path: Path) -> None:
    root = write_tiny(tmp_path / "data")
    (root / "val.txt").write_text("")
    with pytest.raises(InputError, match="no clips"):
        train(root, tmp_path / "out")
