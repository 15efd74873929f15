"""Official MotionGPT3 checkpoints, and MLD's for their motion VAE, as model folders of this project.

An official checkpoint holds, by the prefix of its tensors: ``lm.language_model.`` the backbone (see
`backbones`), ``lm.diffloss.net.`` the head, ``lm.motion_und_head.layers.`` the projection of given motions,
``lm.fake_latent`` the null condition (only if trained for guidance), and ``vae.`` the motion VAE. Each
becomes a part of a `MotionGPT3` whose text branch and tokenizer lie in its own folder. Evaluators and sums
that were saved along (``metrics.``, ``_losses.``) are passed over; any other tensor is an error. A checkpoint
without ``lm.`` becomes a `MotionCodec`, whatever lies beside its ``vae.``. One whose ``vae.`` is a VQ-VAE,
as in MotionGPT (version 1), becomes a `MotionTokenizer`, without the language model that may lie beside it.

How the official release asks and answers: `DialogueConfig.official`, read by GPT-2's tokenizer with
``ADDED_TOKENS``; four placeholders for a motion; 100 steps of DDPM; text by `TextDecoding.official`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from motiongpt3.errors import CheckpointError, InputError, MissingDependencyError
from motiongpt3.files import atomic_folder
from motiongpt3.models.backbones import (
    OFFICIAL_PREFIX,
    TensorName,
    official_configs,
    official_lm_tensors,
    our_tensors,
)
from motiongpt3.models.checkpoint_file import read_checkpoint
from motiongpt3.models.codec import MODEL_NAME as CODEC_NAME
from motiongpt3.models.codec import MotionCodec, vae_to_json
from motiongpt3.models.dialogue import DialogueConfig
from motiongpt3.models.folders import config_to_json, load_strictly, read_config
from motiongpt3.models.head import MLPHeadConfig
from motiongpt3.models.mld_vae import MLDVAE, MLDVAEConfig
from motiongpt3.models.motion_tokenizer import MODEL_NAME as MOTION_TOKENIZER_NAME
from motiongpt3.models.motion_tokenizer import MotionTokenizer
from motiongpt3.models.motiongpt import MODEL_NAME, MotionGPT3, MotionGPT3Config
from motiongpt3.models.placeholders import LatentPlaceholdersConfig
from motiongpt3.models.text_backbone import load_text_backbone
from motiongpt3.models.text_decoding import TextDecoding
from motiongpt3.models.vq_vae import VQVAE, VQVAEConfig
from motiongpt3.motion.features import FEATURE_WIDTH, FRAMES_PER_SECOND, Statistics
from motiongpt3.sampling import EpsilonDiffusion

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# What becomes of each group: our prefix, theirs.
GROUPS = {
    "head.": "lm.diffloss.net.",
    "placeholders.motion_in.": "lm.motion_und_head.layers.",
    "placeholders.null_condition": "lm.fake_latent",
}
VAE_GROUP = "vae."
QUANTIZER_GROUP = "vae.quantizer."
# The first layer of MLD's VAE and of the VQ-VAE: (channels, features, ...).
FEATURE_READERS = ("vae.skel_embedding.weight", "vae.encoder.model.0.weight")
PASSED_OVER = ("metrics.", "_losses.")
# Variants that the official code can be configured for, which this project has not.
UNSUPPORTED = {
    "lm.norm_layer.": "norms the hidden states (with_hid_norm)",
    "lm.diffusion_pos_embed_learned": "adds positions to the hidden states (with_hid_norm)",
    "lm.diffloss.net.cond_embed.weight": "joins the hidden states into one condition (multi_hidden: false)",
}
# The official language side sees latents times this number, which is measured on HumanML3D.
LATENT_FACTOR = 0.8457

ADDED_TOKENS = (
    "<start_of_motion>",
    "<end_of_motion>",
    "<masked_motion>",
    "<pad_motion>",
    "<motion_latent_holder_output>",
    "<motion_latent_holder>",
)
FIRST_ADDED_ID = 50257
# Start and end of motion are embedded as text, the other added tokens by the motion branch.
TEXT_VOCABULARY_SIZE = FIRST_ADDED_ID + 2
# Of the 192 official tokens, four are placeholders, then come the end of motion and the end of text.
LONGEST_PROMPT = 192 - 6
SHORTEST_FRAMES, LONGEST_FRAMES, DEFAULT_FRAMES = 20, 196, 120
GUIDANCE = 7.5
STEPS = 100

KIT_FEATURE_WIDTH = 251
MODEL_NAMES = (MODEL_NAME, CODEC_NAME, MOTION_TOKENIZER_NAME)
WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def import_checkpoint(
    checkpoint: str | Path, stats: str | Path, out: str | Path, tokenizer: str | Path | None = None
) -> MotionGPT3 | MotionCodec | MotionTokenizer:
    """Convert a checkpoint into a model folder.

    Args:
        checkpoint: an official MotionGPT3, or anything with MLD's motion VAE or MotionGPT's VQ-VAE in it; see
            `read_checkpoint`.
        stats: folder with Mean.npy and Std.npy of the data that it was trained on.
        out: the model's folder, which appears whole or not at all; a model that is there is replaced.
        tokenizer: folder with GPT-2's tokenizer; without it, that of the text backbone ``gpt2``.

    Returns:
        What was written: a `MotionGPT3`, a `MotionCodec` if the checkpoint holds a motion VAE alone, or a
        `MotionTokenizer` if it holds a VQ-VAE.

    Raises:
        InputError: if a path is not what it should be, or ``out`` holds something else than a model.
        CheckpointError: if the checkpoint is damaged, hostile, or of another kind.
        MissingDependencyError: if no tokenizer is given and there is none on this machine.
    """
    inputs = [Path(path) for path in (checkpoint, stats, tokenizer) if path is not None]
    _check_out(Path(out), inputs)
    statistics = Statistics.load(stats)
    state = read_checkpoint(checkpoint)
    model: MotionGPT3 | MotionCodec | MotionTokenizer
    try:
        if any(name.startswith(QUANTIZER_GROUP) for name in state):
            model = official_motion_tokenizer(state, statistics)
            if any(name.startswith("lm.") for name in state):
                logger.warning(
                    "%s: its language model (lm.*) is of another kind and was left out", checkpoint
                )
        elif any(name.startswith("lm.") for name in state):
            model = official_model(state, statistics, official_tokenizer(tokenizer))
        else:
            model = official_codec(state, statistics)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from None
    with atomic_folder(out) as temporary:
        model.save_pretrained(temporary)
    return model


def official_codec(state: Mapping[str, Tensor], statistics: Statistics) -> MotionCodec:
    """The motion VAE among the tensors of a checkpoint, with the official scale of its latents.

    Raises:
        CheckpointError: if there is none, or not one of HumanML3D's 263 features.
    """
    _refuse_unsupported(state)
    vae_state = _vae_state(state)
    if not vae_state:
        raise CheckpointError(
            "it holds no motion VAE (vae.*), as official MotionGPT3 and MLD checkpoints do, but tensors like "
            f"{min(state)!r}"
        )
    _check_feature_width(vae_state)
    codec = MotionCodec(MLDVAE(MLDVAEConfig.official()), statistics)
    codec.latent_std.fill_(1 / LATENT_FACTOR)
    tensors = codec.state_dict()
    shapes = {name: tensor.shape for name, tensor in tensors.items() if name.startswith(VAE_GROUP)}
    names = tuple(TensorName(name, (name,)) for name in shapes)
    load_strictly(codec, tensors | our_tensors(vae_state, names, shapes, {}, ()), "the motion VAE")
    return codec.eval()


def official_motion_tokenizer(state: Mapping[str, Tensor], statistics: Statistics) -> MotionTokenizer:
    """The VQ-VAE among the tensors of a checkpoint; evaluation mode.

    Raises:
        CheckpointError: if it is not of the official sizes, or not one of HumanML3D's 263 features.
    """
    vae_state = _vae_state(state)
    _check_feature_width(vae_state)
    tokenizer = MotionTokenizer(VQVAE(VQVAEConfig.official()), statistics)
    shapes = {f"{VAE_GROUP}{name}": tensor.shape for name, tensor in tokenizer.vq_vae.state_dict().items()}
    names = tuple(TensorName(name, (name,)) for name in shapes)
    tensors = our_tensors(vae_state, names, shapes, {}, ())
    inner = {name.removeprefix(VAE_GROUP): tensor for name, tensor in tensors.items()}
    load_strictly(tokenizer.vq_vae, inner, "the VQ-VAE")
    return tokenizer.eval()


def official_model(
    state: Mapping[str, Tensor], statistics: Statistics, tokenizer: PreTrainedTokenizerBase
) -> MotionGPT3:
    """The model that the tensors of an official checkpoint make; evaluation mode.

    Args:
        state: the tensors by their official names.
        statistics: of the data that it was trained on.
        tokenizer: from `official_tokenizer`.

    Raises:
        CheckpointError: naming the first missing, unexpected, misshapen or non-finite tensor.
    """
    codec = official_codec(state, statistics)
    language = _single_precision(
        {name: tensor for name, tensor in state.items() if not name.startswith((VAE_GROUP, *PASSED_OVER))}
    )
    config = _official_config(language, codec)
    with torch.device("meta"):
        model = MotionGPT3(config, codec, tokenizer)
    for part in (model.mot, model.placeholders, model.head):
        part.to_empty(device="cpu")

    others = {name: tensor for name, tensor in language.items() if not name.startswith(OFFICIAL_PREFIX)}
    shapes = {name: t.shape for name, t in model.state_dict().items() if name.startswith(tuple(GROUPS))}
    names = tuple(TensorName(name, (_official_name(name),)) for name in shapes)
    # Strict as a whole: no part keeps the memory that it was made of.
    tensors = our_tensors(others, names, shapes, {}, ())
    tensors |= {f"codec.{name}": tensor for name, tensor in codec.state_dict().items()}
    tensors |= {f"mot.{name}": tensor for name, tensor in official_lm_tensors(language).items()}
    load_strictly(model, tensors, "the model")
    model.mot.freeze_text()
    return model.eval()


def official_tokenizer(folder: str | Path | None = None) -> PreTrainedTokenizerBase:
    """GPT-2's tokenizer with the official motion tokens.

    Args:
        folder: with tokenizer.json, or vocab.json and merges.txt; without it, the text backbone ``gpt2``.

    Raises:
        InputError: if there is no such folder, or its tokenizer is another one.
        MissingDependencyError: if no folder is given and GPT-2 is not on this machine.
    """
    tokenizer = _backbone_tokenizer() if folder is None else _folder_tokenizer(Path(folder))
    tokenizer.add_special_tokens({"extra_special_tokens": list(ADDED_TOKENS)})
    ids = tokenizer.convert_tokens_to_ids(list(ADDED_TOKENS))
    written = tokenizer("Hello world", add_special_tokens=False)["input_ids"]
    if ids != list(range(FIRST_ADDED_ID, FIRST_ADDED_ID + len(ADDED_TOKENS))) or written != [15496, 995]:
        raise InputError(f"the tokenizer in {folder or 'the text backbone gpt2'} is not that of GPT-2")
    return tokenizer


def _vae_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return _single_precision({name: tensor for name, tensor in state.items() if name.startswith(VAE_GROUP)})


def _single_precision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for name, tensor in state.items():
        if tensor.dtype not in WEIGHT_TYPES:
            raise CheckpointError(f"{name!r} is stored as {tensor.dtype}: weights are floating-point numbers")
    return {name: tensor.float() for name, tensor in state.items()}


def _official_config(state: Mapping[str, Tensor], codec: MotionCodec) -> MotionGPT3Config:
    try:
        text, motion = official_configs(state)
    except (IndexError, ValueError):
        raise CheckpointError("the embeddings of its backbone are no matrices") from None
    if text.vocabulary_size != TEXT_VOCABULARY_SIZE:
        found = text.vocabulary_size
        raise CheckpointError(f"its text embedding has {found} rows, an official one {TEXT_VOCABULARY_SIZE}")
    guided = GROUPS["placeholders.null_condition"] in state
    placeholders = {**config_to_json(LatentPlaceholdersConfig.official()), "null_condition": guided}
    return MotionGPT3Config(
        text_backbone="",
        text_fingerprint="",
        stage="",
        dialogue=DialogueConfig.official(),
        longest_prompt=LONGEST_PROMPT,
        frames_per_second=FRAMES_PER_SECOND,
        shortest_frames=SHORTEST_FRAMES,
        longest_frames=LONGEST_FRAMES,
        default_frames=DEFAULT_FRAMES,
        guidance=GUIDANCE if guided else 1.0,
        scheduler="ddpm",
        steps=STEPS,
        decoding=TextDecoding.official(),
        objective={"kind": EpsilonDiffusion.kind, **config_to_json(EpsilonDiffusion())},
        text=text,
        motion=motion,
        placeholders={"kind": "latent", **placeholders},
        head={"kind": "mlp", **config_to_json(MLPHeadConfig.official())},
        vae=vae_to_json(codec.vae),
    )


def _official_name(ours: str) -> str:
    prefix = next(prefix for prefix in GROUPS if ours.startswith(prefix))
    return GROUPS[prefix] + ours.removeprefix(prefix)


def _refuse_unsupported(state: Mapping[str, Tensor]) -> None:
    for prefix, what in UNSUPPORTED.items():
        if any(name.startswith(prefix) for name in state):
            raise CheckpointError(f"this checkpoint {what}, which is not supported ({prefix.rstrip('.')})")


def _check_feature_width(vae_state: Mapping[str, Tensor]) -> None:
    embedding = next((vae_state[name] for name in FEATURE_READERS if name in vae_state), None)
    if embedding is None or embedding.ndim < 2 or embedding.shape[1] == FEATURE_WIDTH:
        return
    width = embedding.shape[1]
    dataset = " (KIT-ML)" if width == KIT_FEATURE_WIDTH else ""
    raise CheckpointError(
        f"its motion VAE reads {width} features per frame{dataset}, motions here have {FEATURE_WIDTH}: "
        "use a checkpoint that was trained on HumanML3D"
    )


def _backbone_tokenizer() -> PreTrainedTokenizerBase:
    try:
        return load_text_backbone("gpt2").tokenizer
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{error}; or give a folder with GPT-2's tokenizer.json with --tokenizer"
        ) from None


def _folder_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import GPT2Tokenizer

    if not folder.is_dir():
        raise InputError(f"no folder {folder}: --tokenizer takes one with GPT-2's tokenizer.json")
    try:
        return GPT2Tokenizer.from_pretrained(folder, local_files_only=True)
    # transformers and tokenizers raise their own kinds for a damaged file.
    except Exception as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"cannot read a tokenizer in {folder}: {cause}") from error


def _check_out(out: Path, inputs: list[Path]) -> None:
    """Replace nothing but models, and no folder that something is read from."""
    for path in inputs:
        if out.resolve() in (path.resolve(), *path.resolve().parents):
            raise InputError(f"{out} holds {path}, and would be replaced: choose another --out")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        is_model = out.is_dir() and read_config(out).get("model") in MODEL_NAMES
    except CheckpointError:
        is_model = False
    if not is_model:
        raise InputError(f"{out} exists and is not a model: choose another --out")
