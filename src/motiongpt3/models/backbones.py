"""Text backbones as data: configs and weight names of transformers models, and of the official release.

A new backbone is an entry in `FAMILIES`: how its transformers config reads, and a table of how its tensors
are named. Each table serves both directions. Reading is strict: a missing, unexpected, misshapen or
non-finite tensor is a `CheckpointError`, and so is a copy that differs from its original.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from motiongpt3.errors import CheckpointError, ConfigError
from motiongpt3.models.mot import MixtureOfTransformers, MotionBranchConfig, TextBranchConfig, attached_layers


@dataclass(frozen=True)
class TensorName:
    """A tensor of ours and those of theirs that hold the same numbers; ``{n}`` is the layer."""

    ours: str
    theirs: tuple[str, ...]  # several are stacked along the outputs
    inputs_first: bool = False  # theirs are (in, out), as in GPT-2's Conv1D; ours are (out, in)


# One transformer layer of GPT-2, as transformers names its parts ...
GPT2_LAYER = (
    ("attention_norm.weight", "ln_1.weight"),
    ("attention_norm.bias", "ln_1.bias"),
    ("query_key_value.weight", "attn.c_attn.weight"),
    ("query_key_value.bias", "attn.c_attn.bias"),
    ("attention_out.weight", "attn.c_proj.weight"),
    ("attention_out.bias", "attn.c_proj.bias"),
    ("mlp_norm.weight", "ln_2.weight"),
    ("mlp_norm.bias", "ln_2.bias"),
    ("mlp_in.weight", "mlp.c_fc.weight"),
    ("mlp_in.bias", "mlp.c_fc.bias"),
    ("mlp_out.weight", "mlp.c_proj.weight"),
    ("mlp_out.bias", "mlp.c_proj.bias"),
)
# ... and as the official MotionGPT3 does, where ``{i}`` is 0 for text and 1 for motion.
OFFICIAL_LAYER = (
    ("attention_norm.weight", "ln_1.fn.{i}.weight"),
    ("attention_norm.bias", "ln_1.fn.{i}.bias"),
    ("query_key_value.weight", "c_attn.fn.{i}.weight"),
    ("query_key_value.bias", "c_attn.fn.{i}.bias"),
    ("attention_out.weight", "c_proj.fn.{i}.weight"),
    ("attention_out.bias", "c_proj.fn.{i}.bias"),
    ("mlp_norm.weight", "ln_2.fn.{i}.weight"),
    ("mlp_norm.bias", "ln_2.fn.{i}.bias"),
    ("mlp_in.weight", "mlp.fn.{i}.c_fc.weight"),
    ("mlp_in.bias", "mlp.fn.{i}.c_fc.bias"),
    ("mlp_out.weight", "mlp.fn.{i}.c_proj.weight"),
    ("mlp_out.bias", "mlp.fn.{i}.c_proj.bias"),
)
LLAMA_LAYER = (
    ("attention_norm.weight", ("input_layernorm.weight",)),
    (
        "query_key_value.weight",
        ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    ),
    ("query_key_value.bias", ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias")),
    ("attention_out.weight", ("self_attn.o_proj.weight",)),
    ("attention_out.bias", ("self_attn.o_proj.bias",)),
    ("mlp_norm.weight", ("post_attention_layernorm.weight",)),
    ("mlp_in.weight", ("mlp.gate_proj.weight", "mlp.up_proj.weight")),
    ("mlp_in.bias", ("mlp.gate_proj.bias", "mlp.up_proj.bias")),
    ("mlp_out.weight", ("mlp.down_proj.weight",)),
    ("mlp_out.bias", ("mlp.down_proj.bias",)),
)


def _conv1d_layer(branch: str, prefix: str, parts: tuple[tuple[str, str], ...]) -> tuple[TensorName, ...]:
    """Names of a layer whose linear weights, and only those, are stored inputs-first."""
    return tuple(
        TensorName(
            f"{branch}.layers.{{n}}.{ours}",
            (prefix + theirs,),
            inputs_first=theirs.endswith("weight") and "norm" not in ours,
        )
        for ours, theirs in parts
    )


GPT2_NAMES = (
    TensorName("text.token_embedding.weight", ("transformer.wte.weight",)),
    TensorName("text.position_embedding.weight", ("transformer.wpe.weight",)),
    *_conv1d_layer("text", "transformer.h.{n}.", GPT2_LAYER),
    TensorName("text.final_norm.weight", ("transformer.ln_f.weight",)),
    TensorName("text.final_norm.bias", ("transformer.ln_f.bias",)),
    TensorName("text_head.weight", ("lm_head.weight",)),
)
LLAMA_NAMES = (
    TensorName("text.token_embedding.weight", ("model.embed_tokens.weight",)),
    *(
        TensorName(f"text.layers.{{n}}.{ours}", tuple("model.layers.{n}." + part for part in theirs))
        for ours, theirs in LLAMA_LAYER
    ),
    TensorName("text.final_norm.weight", ("model.norm.weight",)),
    TensorName("text_head.weight", ("lm_head.weight",)),
)
OFFICIAL_PREFIX = "lm.language_model."
OFFICIAL_NAMES = (
    TensorName("text.token_embedding.weight", ("transformer.wte.weight",)),
    TensorName("text.position_embedding.weight", ("transformer.wpe.weight",)),
    TensorName("motion.token_embedding.weight", ("pre_processors.1.weight",)),
    *(
        name
        for i, branch in enumerate(("text", "motion"))
        for name in (
            *_conv1d_layer(
                branch, "transformer.h.{n}.", tuple((o, t.replace("{i}", str(i))) for o, t in OFFICIAL_LAYER)
            ),
            TensorName(f"{branch}.final_norm.weight", (f"transformer.ln_f.fn.{i}.weight",)),
            TensorName(f"{branch}.final_norm.bias", (f"transformer.ln_f.fn.{i}.bias",)),
        )
    ),
)
# Copies of the text embedding, and the logits of motion tokens, which nothing ever reads.
OFFICIAL_COPIES = dict.fromkeys(
    ("lm_head.weight", "pre_processors.0.weight", "post_processors.0.weight"), "transformer.wte.weight"
)
OFFICIAL_UNUSED = ("post_processors.1.weight",)
OFFICIAL_HEADS = 12


def _gpt2_config(theirs: Any) -> TextBranchConfig:
    _refuse(
        theirs,
        activation_function=("gelu_new", "gelu_pytorch_tanh"),
        scale_attn_weights=(True,),
        scale_attn_by_inverse_layer_idx=(False,),
        add_cross_attention=(False,),
    )
    return TextBranchConfig(
        layers=theirs.n_layer,
        width=theirs.n_embd,
        heads=theirs.n_head,
        kv_heads=theirs.n_head,
        head_dim=theirs.n_embd // theirs.n_head,
        mlp_width=theirs.n_inner or 4 * theirs.n_embd,
        vocabulary_size=theirs.vocab_size,
        max_positions=theirs.n_positions,
        positions="learned",
        rope_theta=0.0,
        norm="layer",
        norm_epsilon=theirs.layer_norm_epsilon,
        mlp="gelu_tanh",
        biases=True,
        tied_embeddings=theirs.tie_word_embeddings,
        dropout=theirs.resid_pdrop,
    )


def _llama_config(theirs: Any) -> TextBranchConfig:
    rope = theirs.rope_parameters
    if rope["rope_type"] != "default" or rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ConfigError(f"text backbone: rope scaling is not supported: {dict(rope)}")
    if theirs.attention_bias != theirs.mlp_bias:
        raise ConfigError(
            f"text backbone: attention_bias={theirs.attention_bias} with mlp_bias={theirs.mlp_bias} is not "
            "supported: both or neither"
        )
    _refuse(
        theirs,
        hidden_act=("silu", "swish"),
        sliding_window=(None,),
        rope_interleaved=(False, None),
        layer_types=(None, ["full_attention"] * theirs.num_hidden_layers),
    )
    return TextBranchConfig(
        layers=theirs.num_hidden_layers,
        width=theirs.hidden_size,
        heads=theirs.num_attention_heads,
        kv_heads=theirs.num_key_value_heads or theirs.num_attention_heads,
        head_dim=getattr(theirs, "head_dim", None) or theirs.hidden_size // theirs.num_attention_heads,
        mlp_width=theirs.intermediate_size,
        vocabulary_size=theirs.vocab_size,
        max_positions=theirs.max_position_embeddings,
        positions="rotary",
        rope_theta=float(rope["rope_theta"]),
        norm="rms",
        norm_epsilon=theirs.rms_norm_eps,
        mlp="swiglu",
        biases=theirs.attention_bias,
        tied_embeddings=theirs.tie_word_embeddings,
        dropout=0.0,
    )


@dataclass(frozen=True)
class Family:
    """All that is particular to one kind of language model in transformers."""

    config: Callable[[Any], TextBranchConfig]
    names: tuple[TensorName, ...]
    unused: tuple[str, ...]  # endings of buffers that some versions of transformers store


FAMILIES: Mapping[str, Family] = {
    "gpt2": Family(_gpt2_config, GPT2_NAMES, (".attn.bias", ".attn.masked_bias")),
    "llama": Family(_llama_config, LLAMA_NAMES, (".rotary_emb.inv_freq",)),
}


def text_config_from(transformers_config: Any) -> TextBranchConfig:
    """Our config of a transformers one, whose ``model_type`` names the family.

    Raises `ConfigError` naming what the model has and this backbone does not.
    """
    return _family(transformers_config.model_type).config(transformers_config)


def load_text_weights(mot: MixtureOfTransformers, state: Mapping[str, Tensor], family: str) -> None:
    """Fill the text branch from a state dict of GPT2LMHeadModel (``gpt2``) or LlamaForCausalLM (``llama``).

    Strict; if anything is wrong, `CheckpointError`, and nothing has been changed.
    """
    kind = _family(family)
    parameters = {name: tensor for name, tensor in mot.named_parameters() if name.startswith("text")}
    copies = {}
    if mot.text_config.tied_embeddings:
        original = {name.ours: name.theirs[0] for name in kind.names}
        copies[original["text_head.weight"]] = original["text.token_embedding.weight"]
    shapes = {name: tensor.shape for name, tensor in parameters.items()}
    tensors = our_tensors(state, kind.names, shapes, copies, kind.unused)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def text_weights(mot: MixtureOfTransformers, family: str) -> dict[str, Tensor]:
    """The text branch as a transformers state dict; tied output layers are not repeated."""
    tensors = {name: tensor for name, tensor in mot.state_dict().items() if name.startswith("text")}
    return their_tensors(tensors, _family(family).names, mot.text_config)


def official_configs(state: Mapping[str, Tensor]) -> tuple[TextBranchConfig, MotionBranchConfig]:
    """The sizes of an official checkpoint's backbone, read off its tensors (keys as in the checkpoint)."""

    def shape(name: str) -> torch.Size:
        if OFFICIAL_PREFIX + name not in state:
            raise CheckpointError(
                f"no tensor {OFFICIAL_PREFIX + name}: not an official MotionGPT3 checkpoint"
            )
        return state[OFFICIAL_PREFIX + name].shape

    layers = 0
    while OFFICIAL_PREFIX + f"transformer.h.{layers}.ln_1.fn.0.weight" in state:
        layers += 1
    vocabulary_size, width = shape("transformer.wte.weight")
    text = TextBranchConfig(
        layers=layers,
        width=width,
        heads=OFFICIAL_HEADS,
        kv_heads=OFFICIAL_HEADS,
        head_dim=width // OFFICIAL_HEADS,
        mlp_width=shape("transformer.h.0.mlp.fn.0.c_fc.weight")[1],
        vocabulary_size=vocabulary_size,
        max_positions=shape("transformer.wpe.weight")[0],
        positions="learned",
        rope_theta=0.0,
        norm="layer",
        norm_epsilon=1e-5,
        mlp="gelu_tanh",
        biases=True,
        tied_embeddings=True,
        dropout=0.1,
    )
    motion_vocabulary_size, motion_width = shape("pre_processors.1.weight")
    motion = MotionBranchConfig(
        width=motion_width,
        mlp_width=shape("transformer.h.0.mlp.fn.1.c_fc.weight")[1],
        layers=attached_layers(layers, "all"),
        attention="causal",
        vocabulary_size=motion_vocabulary_size,
        dropout=0.1,
    )
    return text, motion


def official_lm_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone of an official checkpoint, as `MixtureOfTransformers(*official_configs(state))` loads it.

    Reads what lies under ``lm.language_model.``, strictly, and nothing else of ``state`` (heads, VAE).
    The logits of motion tokens, ``post_processors.1.weight``, are left out: nothing ever reads them.
    """
    with torch.device("meta"):
        skeleton = MixtureOfTransformers(*official_configs(state))
    shapes = {name: tensor.shape for name, tensor in skeleton.state_dict().items()}
    backbone = {
        key.removeprefix(OFFICIAL_PREFIX): tensor
        for key, tensor in state.items()
        if key.startswith(OFFICIAL_PREFIX)
    }
    return our_tensors(backbone, OFFICIAL_NAMES, shapes, OFFICIAL_COPIES, OFFICIAL_UNUSED)


def our_tensors(
    theirs: Mapping[str, Tensor],
    names: tuple[TensorName, ...],
    shapes: Mapping[str, torch.Size],
    copies: Mapping[str, str],
    unused: tuple[str, ...],
) -> dict[str, Tensor]:
    """All tensors of ``shapes`` (name → shape), under our names and in our layout, from ``theirs``.

    ``copies`` maps keys that may be there to those they repeat; keys that end in one of ``unused`` are passed
    over; any other key that is left is an error.
    """
    tensors: dict[str, Tensor] = {}
    used = set(copies)
    for ours, keys, inputs_first in _per_layer(names, shapes):
        missing = [key for key in keys if key not in theirs]
        if missing:
            raise CheckpointError(f"no tensor {missing[0]}: are these weights of the model in the config?")
        parts = [theirs[key].T if inputs_first else theirs[key] for key in keys]
        fits = all(part.shape[1:] == shapes[ours][1:] for part in parts)
        if not fits or sum(part.shape[0] for part in parts) != shapes[ours][0]:
            found = ", ".join(f"{key} {tuple(theirs[key].shape)}" for key in keys)
            raise CheckpointError(f"{found}: the config asks for {tuple(shapes[ours])} in {ours}")
        tensors[ours] = torch.cat(parts) if len(parts) > 1 else parts[0].contiguous()
        if not torch.stack(torch.aminmax(tensors[ours])).isfinite().all():
            raise CheckpointError(f"{' or '.join(keys)} has values that are not finite: the file is damaged")
        used.update(keys)
    for copy, original in copies.items():
        if copy in theirs and not torch.equal(theirs[copy], theirs[original]):
            raise CheckpointError(f"{copy} differs from {original}, but the model has one tensor for both")
    unexpected = sorted(key for key in theirs if key not in used and not key.endswith(unused))
    if unexpected:
        raise CheckpointError(
            f"unexpected tensor {unexpected[0]}: are these weights of the model in the config?"
        )
    unfilled = sorted(shapes.keys() - tensors.keys())
    if unfilled:
        raise CheckpointError(f"the config asks for {unfilled[0]}, which this kind of model does not have")
    return tensors


def their_tensors(
    ours: Mapping[str, Tensor], names: tuple[TensorName, ...], config: TextBranchConfig
) -> dict[str, Tensor]:
    """The reverse of `our_tensors`: our tensors under their names, in their layout."""
    heads, kv_heads = config.heads * config.head_dim, config.kv_heads * config.head_dim
    tensors = {}
    for name, keys, inputs_first in _per_layer(names, ours):
        rows = ours[name].shape[0]
        sizes = [heads, kv_heads, kv_heads] if len(keys) == 3 else [rows // len(keys)] * len(keys)
        for key, part in zip(keys, ours[name].split(sizes)):
            tensors[key] = (part.T if inputs_first else part).contiguous()
    return tensors


def _per_layer(
    names: tuple[TensorName, ...], present: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """The table written out for all layers, without what ``present`` has not (biases, tied output layers)."""
    for name in names:
        for n in count():
            ours = name.ours.format(n=n)
            if ours not in present:
                break
            yield ours, tuple(key.format(n=n) for key in name.theirs), name.inputs_first
            if "{n}" not in name.ours:
                break


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise ConfigError(f"text backbone: {name!r} is not supported, only {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]


def _refuse(theirs: Any, **supported: tuple[Any, ...]) -> None:
    """`ConfigError` for a field with another value than those supported; an absent one has the first."""
    for field, values in supported.items():
        value = getattr(theirs, field, values[0])
        if value not in values:
            raise ConfigError(
                f"text backbone: {field}={value!r} is not supported; choose a model with {field} in {values}"
            )
