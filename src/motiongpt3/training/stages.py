"""The language stages: clips and captions in, a `MotionGPT3` folder out, each stage from the one before.

1. *text-to-motion*: sentences ask for motions; the text branch is frozen, as in the next two.
2. *pretrain*: bare requests of every task, so that motion is read as well as made.
3. *instruct*: the same in many wordings, and what kind of answer a request wants.
4. *finetune*: instructions, with answers in text; the text branch is trained, whole or by low-rank adapters.

Nothing that stays the same is computed twice: requests are read once by the frozen text branch, clips are
encoded once by the VAE.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import seed_everything
from torch import nn
from torch.utils.data import DataLoader

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.instructions import load_conversation, load_templates
from motiongpt3.data.loaders import LengthBuckets, Shares
from motiongpt3.errors import ConfigError, MissingDependencyError
from motiongpt3.models.codec import MotionCodec
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import SequencePlaceholders
from motiongpt3.training.caption_memory import CaptionMemory
from motiongpt3.training.curriculum import Wordings, write_curriculum
from motiongpt3.training.encoded_clips import EncodedClip, balanced_rates, encode_split
from motiongpt3.training.generation_check import SUCCESS, JudgedPrompts
from motiongpt3.training.language import (
    PARTS,
    TEXT_PART,
    LanguageTraining,
    LanguageWeights,
    LiveTexts,
    TextReader,
    terms_of,
)
from motiongpt3.training.lessons import LessonMix, LessonPlan, Lessons
from motiongpt3.training.optimization import OptimizerConfig
from motiongpt3.training.runs import RunConfig, fit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        after: stages that a model must have been through last to begin with this one.
        templates: instruction templates, see `load_templates`.
        trains_text: whether the text branch is trained.
    """

    after: tuple[str, ...]
    templates: str
    trains_text: bool = False


STAGES: dict[str, Stage] = {
    "text-to-motion": Stage(("text-to-motion",), "t2m_pretrain"),
    "pretrain": Stage(("text-to-motion", "pretrain"), "pretrain"),
    "instruct": Stage(("pretrain", "instruct"), "all"),
    "finetune": Stage(("instruct", "finetune"), "all", trains_text=True),
}


@dataclass(frozen=True)
class LowRank:
    """Low-rank adapters in place of all weights of the text branch (Hu et al. 2021, arXiv:2106.09685).

    They are merged into the weights when the training ends.

    Args:
        rank: of the update of each matrix.
        alpha: the update is scaled by ``alpha / rank``.
        layers: names of the matrices in each layer.
    """

    rank: int = 16
    alpha: int = 32
    layers: tuple[str, ...] = ("query_key_value", "attention_out", "mlp_in", "mlp_out")


def train_language(
    data: Path,
    out: Path,
    stage: Literal["text-to-motion", "pretrain", "instruct", "finetune"],
    mix: LessonMix,
    optimizer: OptimizerConfig,
    start_from: Path | None = None,
    codec: Path | None = None,
    model: dict[str, Any] | None = None,
    templates: str | None = None,
    wordings: Wordings | None = None,
    weights: LanguageWeights | None = None,
    low_rank: LowRank | None = None,
    remember_text: bool = True,
    clips: int | None = None,
    batch_size: int = 24,
    null_rate: float = 0.1,
    draws: int = 1,
    label_balance: float = 0.5,
    validate_every: int = 1000,
    judged: JudgedPrompts | None = None,
    store: Literal["float32", "float16"] = "float32",
    seed: int = 0,
    device: str = "auto",
    run: RunConfig | None = None,
) -> Path:
    """Train one stage and write the model to ``out/model``.

    A run that was interrupted goes on from its last checkpoint when it is started again with the same
    ``out``.

    Args:
        data: a dataset in HumanML3D's layout.
        out: folder for checkpoints, logs, what the text branch has read, and the finished model.
        stage: which.
        mix: how often each kind of lesson is drawn.
        optimizer: rates, steps and averaging; parts with rates of their own may be ``motion``,
            ``placeholders``, ``head`` and, in stage finetune, ``text``.
        start_from: the finished model of the stage before, or of this stage to train it further.
        codec: only to begin with text-to-motion: folder of the trained motion VAE;
        model: and what the model's config.json says beyond the VAE: text backbone, motion branch, head.
        templates: instruction templates, a name or a JSON file; by default those of the stage.
        wordings: how many of them each clip gets.
        weights: of the terms of the loss.
        low_rank: adapt the text branch instead of training it whole (stage finetune).
        remember_text: while the text branch is frozen, read each request once and keep keys and values in
            ``out/read``: 4 bytes per token, attached layer and channel. Otherwise each step reads its own.
        clips: train on so many clips of the training split, drawn evenly: all that a short stage will see, so
            that no more requests are read than it needs.
        batch_size: clips per step.
        null_rate: how often a sentence is kept from the head, for classifier-free guidance.
        draws: how many times the head is asked about each motion in a step, each with noise of its own.
        label_balance: a clip is drawn at a rate of (clips with its label) ** -label_balance; 0 is uniform.
            Clips without a label count as a label of their own.
        validate_every: steps.
        judged: sentences to make motions of in some of the validations; ``best.ckpt`` is then the one that
            does most of what they say, instead of that of the smallest loss.
        store: how the finished model's weights are stored; half precision halves the file.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        run: several devices, precision, logging, further checkpoints.

    Returns:
        The folder of the finished model.

    Raises:
        ConfigError: if the settings contradict one another, or the model to start from is of another stage.
        InputError: if the dataset or the templates cannot be used.
    """
    seed_everything(seed, verbose=False)
    chosen = STAGES[stage]
    if low_rank is not None and not chosen.trains_text:
        raise ConfigError(f"low_rank: stage {stage} leaves the text branch as it is; finetune adapts it")
    if mix.texts and not chosen.trains_text:
        raise ConfigError(
            f"mix.texts: stage {stage} leaves the text branch as it is, and learns nothing from text"
        )
    optimizer.check_parts((*PARTS, TEXT_PART) if chosen.trains_text else PARTS)
    trained = _model_to_train(stage, start_from, codec, model)
    if chosen.trains_text:
        _train_text(trained, low_rank)
    if mix.decisions and not isinstance(trained.placeholders, SequencePlaceholders):
        raise ConfigError("mix.decisions: this model has no start token to decide with: leave them out")
    trained.eval()
    for part in (trained.mot.text if chosen.trains_text else None, trained.mot.motion, trained.head):
        if part is not None:
            part.train()
    dataset = HumanML3DDataset(data)
    splits = {name: encode_split(dataset, name, trained.codec) for name in ("train", "val")}
    splits["train"] = _some(splits["train"], clips, seed)
    conversation = load_conversation() if mix.decisions else None
    loaded = load_templates(templates or chosen.templates)
    curriculum = write_curriculum(trained, splits, loaded, wordings or Wordings(), conversation, seed)
    _check_mix(mix, curriculum.plans["train"], stage)
    attached, all_layers = trained.config.motion.layers, tuple(range(trained.config.text.layers))
    folder = out / "read" if remember_text and trained.mot.text_is_frozen else None
    requests = _reader(trained, curriculum.requests, attached, folder)
    openings = _reader(trained, curriculum.openings, all_layers, folder)
    training, validation = (
        Lessons(clips, curriculum.plans[name], trained.codec, mix, trained.objective, null_rate, draws)
        for name, clips in splits.items()
    )
    sampler = LengthBuckets(
        [len(clip.mean) for clip in splits["train"]],
        batch_size,
        weights=balanced_rates([clip.label for clip in splits["train"]], label_balance),
        seed=seed,
    )
    first = fit(
        LanguageTraining(
            trained,
            requests,
            openings,
            optimizer,
            weights or LanguageWeights(),
            terms_of(mix, trained.placeholders),
        ),
        DataLoader(training, batch_sampler=sampler, collate_fn=training.collate),
        DataLoader(
            validation, batch_sampler=Shares(len(validation), batch_size), collate_fn=validation.collate
        ),
        out,
        optimizer,
        validate_every=validate_every,
        monitor=SUCCESS if judged else "val/loss",
        monitor_mode="max" if judged else "min",
        device=device,
        callbacks=[judged.check(trained)] if judged else None,
        run=run,
    )
    if first:
        _finish(trained, stage, chosen, low_rank is not None)
        trained.eval().save_pretrained(out / "model", torch.float16 if store == "float16" else None)
    return out / "model"


def _some(clips: list[EncodedClip], count: int | None, seed: int) -> list[EncodedClip]:
    if count is None or count >= len(clips):
        return clips
    chosen = np.random.default_rng(seed).choice(len(clips), size=count, replace=False)
    return [clips[place] for place in sorted(chosen.tolist())]


def _model_to_train(
    stage: str, start_from: Path | None, codec: Path | None, model: dict[str, Any] | None
) -> MotionGPT3:
    """The model of the stage before, or a new one around a trained VAE."""
    if start_from is None:
        if stage != "text-to-motion":
            before = " or ".join(name for name in STAGES[stage].after if name != stage)
            raise ConfigError(f"start_from: stage {stage} goes on from a finished model of stage {before}")
        if codec is None or model is None:
            raise ConfigError("codec: to begin, give the trained motion VAE (codec) and the sizes (model)")
        made = MotionGPT3.assemble({**model, "stage": ""}, MotionCodec.from_pretrained(codec))
    else:
        if codec is not None:
            raise ConfigError("codec: the model in start_from has its own; leave codec out")
        made = MotionGPT3.from_pretrained(start_from)
        check_stage(made.config.stage, stage, str(start_from))
    return made


def check_stage(found: str, stage: str, where: str) -> None:
    """Refuse a model whose last stage does not lead to ``stage``; one that does not say is let through.

    Raises:
        ConfigError: naming the stages that would do.
    """
    if not found:
        logger.warning("%s does not say what stage it has been through; going on with %s", where, stage)
    elif found not in STAGES[stage].after:
        fitting = [name for name, other in STAGES.items() if found in other.after and name != found]
        raise ConfigError(
            f"start_from: {where} has been through stage {found}; {stage} goes on from "
            f"{' or '.join(STAGES[stage].after)}"
            + (f" (what goes on from {found} is {' or '.join(fitting)})" if fitting else "")
        )


def _check_mix(mix: LessonMix, plan: LessonPlan, stage: str) -> None:
    """Refuse a mix that asks for lessons of which the templates have none."""
    for name, pool in (
        ("prediction", plan.prediction[0]),
        ("inbetween", plan.inbetween[0]),
        ("captioning", plan.captioning[0]),
        ("decisions", plan.decisions),
        ("texts", plan.texts),
    ):
        if getattr(mix, name) and not pool:
            raise ConfigError(f"mix.{name}: the templates of stage {stage} have no such requests")


def _train_text(model: MotionGPT3, low_rank: LowRank | None) -> None:
    """Let the text branch learn: all of it, or adapters in it."""
    if low_rank is None:
        model.mot.text.requires_grad_(True)
        if model.mot.text_head is not None:
            model.mot.text_head.requires_grad_(True)
        return
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError:
        raise MissingDependencyError(
            "low_rank needs the package 'peft': pip install 'motiongpt3[train]'"
        ) from None
    config = LoraConfig(r=low_rank.rank, lora_alpha=low_rank.alpha, target_modules=list(low_rank.layers))
    inject_adapter_in_model(config, model.mot.text)


def _finish(model: MotionGPT3, stage: str, chosen: Stage, adapted: bool) -> None:
    """Note the stage; a text branch that was trained belongs to the model from now on."""
    changes: dict[str, str] = {"stage": stage}
    if chosen.trains_text:
        if adapted:
            _merge_adapters(model.mot.text)
        changes |= {"text_backbone": "", "text_fingerprint": ""}
    model.config = dataclasses.replace(model.config, **changes)  # type: ignore[arg-type]


def _merge_adapters(module: nn.Module) -> None:
    """Put plain layers in place of adapted ones, the update added to their weights."""
    from peft.tuners.lora import LoraLayer

    for name, child in module.named_children():
        if isinstance(child, LoraLayer):
            child.merge()
            setattr(module, name, child.get_base_layer())
        else:
            _merge_adapters(child)


def _reader(
    model: MotionGPT3, texts: Sequence[Sequence[int]], layers: tuple[int, ...], folder: Path | None
) -> TextReader:
    """Texts read once by the frozen text branch and kept in ``folder``; without one, read anew always."""
    if folder is None:
        return LiveTexts(texts, model.mot, layers)
    return CaptionMemory.read(texts, model, folder, layers)
