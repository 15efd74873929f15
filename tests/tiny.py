"""The smallest models that still have every part, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import GPT2TokenizerFast, LlamaConfig, LlamaForCausalLM

from motiongpt3.models.codec import MotionCodec, build_vae
from motiongpt3.models.motion_tokenizer import MotionTokenizer
from motiongpt3.models.motion_tokens import MotionTokenGPT
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.vq_vae import VQVAE, VQVAEConfig
from motiongpt3.motion.features import FEATURE_WIDTH, Statistics
from tests.tokenizers import END_OF_TEXT, gpt2_vocabulary

# One that plays a part in a conversation, and one that the tokenizer merely knows.
START_OF_TURN, UNUSED_TOKEN = "<|im_start|>", "<repo_name>"

VAE = {
    "kind": "temporal",
    "feature_width": FEATURE_WIDTH,
    "patch_frames": 4,
    "patches_per_latent": 2,
    "patch_channels": 2,
    "width": 8,
    "encoder_dilations": [1, 3],
    "decoder_dilations": [3, 1],
    "frame_width": 4,
}
MLD_VAE = {
    "kind": "mld",
    "feature_width": FEATURE_WIDTH,
    "latent_tokens": 1,
    "width": 8,
    "layers": 3,
    "heads": 2,
    "feedforward_width": 16,
    "dropout": 0.0,
    "positions": 100,
}
VQ_VAE = {
    "feature_width": FEATURE_WIDTH,
    "width": 8,
    "code_count": 12,
    "code_width": 5,
    "halvings": 2,
    "residual_blocks": 2,
    "dilation_growth": 3,
}


def randomise(module: nn.Module, seed: int = 0, deviation: float = 0.2) -> None:
    """Move every trained parameter, so that no zero from initialisation hides what a layer does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += deviation * torch.randn(parameter.shape, generator=generator)


def byte_tokenizer() -> GPT2TokenizerFast:
    """GPT-2's tokenizer without merges: a token for each byte, and three special ones."""
    vocabulary = {token: index for token, index in gpt2_vocabulary().items() if index < 256}
    tokenizer = GPT2TokenizerFast(vocab={**vocabulary, END_OF_TEXT: 256}, merges=[])
    tokenizer.add_special_tokens({"bos_token": START_OF_TURN})
    tokenizer.add_tokens([UNUSED_TOKEN], special_tokens=True)
    return tokenizer


def save_backbone(folder: Path, seed: int = 0) -> Path:
    """A Llama with a byte tokenizer, as transformers saves them."""
    torch.manual_seed(seed)
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        # So wide that prompts differ by more than rounding.
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def codec(kind: dict[str, Any] | None = None, seed: int = 0) -> MotionCodec:
    """A motion codec whose four statistics differ from zero and one."""
    torch.manual_seed(seed)
    made = MotionCodec(
        build_vae(kind or VAE),
        Statistics(0.1 * torch.randn(FEATURE_WIDTH), 0.05 + 0.1 * torch.rand(FEATURE_WIDTH)),
    )
    randomise(made, seed)
    made.latent_mean.normal_()
    made.latent_std.uniform_(0.5, 2.0)
    return made.eval()


def motion_tokenizer(seed: int = 0) -> MotionTokenizer:
    """A motion tokenizer with statistics that differ from zero and one, and all codes in use."""
    torch.manual_seed(seed)
    made = MotionTokenizer(
        VQVAE(VQVAEConfig(**VQ_VAE)),
        Statistics(0.1 * torch.randn(FEATURE_WIDTH), 0.05 + 0.1 * torch.rand(FEATURE_WIDTH)),
    )
    frames = made.vocabulary_size * made.frames_per_code
    with torch.no_grad():
        vectors = made.vq_vae.encode_vectors(torch.randn(1, frames, FEATURE_WIDTH), torch.tensor([frames]))
    made.vq_vae.quantizer.codebook.copy_(vectors[0])
    return made.eval()


def description(backbone: Path, **changes: Any) -> dict[str, Any]:
    """What `MotionGPT3.assemble` takes: a model over `codec`, with motion at two of three text layers."""
    values: dict[str, Any] = {
        "text_backbone": str(backbone),
        "stage": "",
        "dialogue": {
            "request_prefix": f"{START_OF_TURN}say: ",
            "request_suffix": "\n",
            "text_prefix": "> ",
            "text_end": END_OF_TEXT,
            "motion_prefix": "",
            "motion_suffix": "",
            "given_prefix": "",
            "given_suffix": "",
        },
        "longest_prompt": 64,
        "frames_per_second": 20.0,
        "shortest_frames": 8,
        "longest_frames": 80,
        "default_frames": 40,
        "guidance": 2.0,
        "scheduler": "euler",
        "steps": 4,
        "decoding": {
            "max_new_tokens": 12,
            "temperature": 0.0,
            "top_k": 0,
            "top_p": 1.0,
            "repetition_penalty": 1.0,
            "banned_tokens": [],
        },
        "objective": {
            "kind": "rectified_flow",
            "time_sampling": "logit_normal",
            "logit_mean": 0.0,
            "logit_std": 1.0,
        },
        "motion": {
            "width": 12,
            "mlp_width": 16,
            "layers": [0, 2],
            "attention": "bidirectional",
            "vocabulary_size": 3,
            "dropout": 0.0,
        },
        "placeholders": {
            "kind": "sequence",
            "width": 12,
            "latent_channels": 4,
            "longest": 10,
            "place_features": 4,
            "start_token": 0,
            "placeholder_token": 1,
            "given_token": 2,
        },
        "head": {
            "kind": "sequence",
            "latent_channels": 4,
            "hidden_width": 12,
            "width": 16,
            "depth": 2,
            "heads": 2,
            "mlp_ratio": 2.0,
        },
    }
    return values | changes


def model(backbone: Path, seed: int = 0, **changes: Any) -> MotionGPT3:
    """A model in evaluation mode whose every part has a say."""
    torch.manual_seed(seed)
    made = MotionGPT3.assemble(description(backbone, **changes), codec(seed=seed))
    randomise(made, seed)
    return made.eval()


def token_description(backbone: Path, **changes: Any) -> dict[str, Any]:
    """What `MotionTokenGPT.assemble` takes: a model over `motion_tokenizer`, as small as `description`'s."""
    values: dict[str, Any] = {
        "text_backbone": str(backbone),
        "dialogue": {
            "request_prefix": f"{START_OF_TURN}say: ",
            "request_suffix": "\n",
            "text_prefix": "it is ",
            "text_end": END_OF_TEXT,
            "motion_prefix": "",
            "motion_suffix": "",
            "given_prefix": "(",
            "given_suffix": ")",
        },
        "longest_prompt": 64,
        "frames_per_second": 20.0,
        "shortest_frames": 8,
        "longest_frames": 80,
        "temperature": 1.0,
        "top_k": 0,
        "decoding": {"max_new_tokens": 12},
        "motion": {"width": 12, "mlp_width": 16, "layers": [0, 2], "dropout": 0.0},
    }
    return values | changes


def token_model(backbone: Path, seed: int = 0, **changes: Any) -> MotionTokenGPT:
    """A model over motion tokens in evaluation mode whose every part has a say."""
    torch.manual_seed(seed)
    made = MotionTokenGPT.assemble(token_description(backbone, **changes), motion_tokenizer(seed))
    for part in (made.mot.motion, made.head):
        randomise(part, seed)
    return made.eval()


def latent_model(backbone: Path, seed: int = 0) -> MotionGPT3:
    """The same with the official layout: a latent per clip, asked for by two placeholders."""
    sizes = description(backbone)
    placeholders = {
        "kind": "latent",
        "width": 12,
        "placeholders": 2,
        "placeholder_token": 1,
        "masked_token": 0,
        "latent_channels": 8,
        "null_condition": True,
    }
    head = {
        "kind": "mlp",
        "latent_channels": 8,
        "hidden_width": 12,
        "width": 8,
        "depth": 1,
        "condition_heads": 2,
        "condition_feedforward_width": 8,
        "condition_dropout": 0.0,
        "condition_positions": 8,
    }
    motion = {**sizes["motion"], "attention": "causal"}
    torch.manual_seed(seed)
    made = MotionGPT3.assemble(
        {**sizes, "placeholders": placeholders, "head": head, "motion": motion}, codec(MLD_VAE, seed)
    )
    randomise(made, seed)
    return made.eval()
