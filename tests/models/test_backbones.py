"""The text branch is the transformers model: tiny random GPT-2 and Llama, weights both ways, strictness."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    BertConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from motiongpt3.errors import CheckpointError, ConfigError
from motiongpt3.models.backbones import (
    OFFICIAL_PREFIX,
    load_text_weights,
    official_configs,
    official_lm_tensors,
    text_config_from,
    text_weights,
)
from motiongpt3.models.mot import KeyValueCache, MixtureOfTransformers, MotionBranchConfig, TokenStream

VOCABULARY = 61


def gpt2(**changes: object) -> GPT2LMHeadModel:
    sizes = {"vocab_size": VOCABULARY, "n_positions": 40, "n_embd": 24, "n_layer": 3, "n_head": 4}
    return GPT2LMHeadModel(GPT2Config(**sizes | changes))


def llama(**changes: object) -> LlamaForCausalLM:
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 40,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
        "tie_word_embeddings": True,
    }
    return LlamaForCausalLM(LlamaConfig(**sizes | changes))


REFERENCES = {
    "gpt2": gpt2,
    "gpt2 of another MLP width": lambda: gpt2(n_inner=36),
    "llama": llama,
    "llama untied": lambda: llama(tie_word_embeddings=False),
    "llama with biases, one key/value head": lambda: llama(
        attention_bias=True, mlp_bias=True, num_key_value_heads=1
    ),
}


def motion_config(layers: tuple[int, ...] = (1, 2)) -> MotionBranchConfig:
    return MotionBranchConfig(
        width=12, mlp_width=20, layers=layers, attention="causal", vocabulary_size=4, dropout=0.0
    )


def randomised(model: PreTrainedModel) -> PreTrainedModel:
    """Weights large enough, and biases and norms uneven enough, for every one of them to matter."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = 0.2 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + noise if "norm" in name or "ln_" in name else noise)
    return model.eval()


def ours_and_reference(name: str) -> tuple[MixtureOfTransformers, PreTrainedModel]:
    reference = randomised(REFERENCES[name]())
    mot = MixtureOfTransformers(text_config_from(reference.config), motion_config()).eval()
    load_text_weights(mot, reference.state_dict(), reference.config.model_type)
    return mot, reference


def ids(rows: int, columns: int) -> torch.Tensor:
    return torch.randint(VOCABULARY, (rows, columns), generator=torch.Generator().manual_seed(1))


def stream(
    mot: MixtureOfTransformers, tokens: torch.Tensor, visible: torch.Tensor | None = None
) -> TokenStream:
    return TokenStream.sequential(mot.embed_text(tokens), visible)


def logits(mot: MixtureOfTransformers, text: TokenStream, cache: KeyValueCache | None = None) -> torch.Tensor:
    return mot.text_logits(mot(text, cache=cache).text_hidden)


@pytest.mark.parametrize("name", REFERENCES)
@torch.no_grad()
def test_text_alone_is_the_transformers_model(name: str) -> None:
    mot, reference = ours_and_reference(name)
    tokens = ids(2, 17)
    torch.testing.assert_close(
        logits(mot, stream(mot, tokens)), reference(tokens).logits, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", REFERENCES)
@torch.no_grad()
def test_padding_is_that_of_transformers(name: str, side: str) -> None:
    mot, reference = ours_and_reference(name)
    tokens, visible = ids(2, 9), torch.ones(2, 9, dtype=torch.bool)
    if side == "left":
        visible[1, :4] = False
    else:
        visible[1, -4:] = False
    text = stream(mot, tokens, visible)
    expected = reference(tokens, attention_mask=visible.long(), position_ids=text.positions).logits
    actual = logits(mot, text)
    assert actual.isfinite().all()
    torch.testing.assert_close(actual[visible], expected[visible], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", REFERENCES)
@torch.no_grad()
def test_one_token_at_a_time_is_all_at_once(name: str) -> None:
    mot, reference = ours_and_reference(name)
    tokens, visible = ids(2, 10), torch.ones(2, 10, dtype=torch.bool)
    visible[1, :3] = False
    text, cache = stream(mot, tokens, visible), KeyValueCache()
    steps = []
    for start, end in [(0, 5), *((n, n + 1) for n in range(5, 10))]:
        part = TokenStream(text.embeddings[:, start:end], text.positions[:, start:end], visible[:, start:end])
        steps.append(logits(mot, part, cache))
    expected = reference(tokens, attention_mask=visible.long(), position_ids=text.positions).logits
    torch.testing.assert_close(torch.cat(steps, 1)[visible], expected[visible], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", REFERENCES)
def test_weights_come_back_as_they_went_in(name: str) -> None:
    mot, reference = ours_and_reference(name)
    state = reference.state_dict()
    written = text_weights(mot, reference.config.model_type)
    if reference.config.tie_word_embeddings:
        state.pop("lm_head.weight")
    assert written.keys() == state.keys()
    for key, tensor in state.items():
        assert torch.equal(written[key], tensor), key


def damage_missing(state: dict[str, torch.Tensor]) -> None:
    del state["model.layers.2.mlp.up_proj.weight"]


def damage_unexpected(state: dict[str, torch.Tensor]) -> None:
    state["model.layers.3.mlp.up_proj.weight"] = torch.zeros(40, 24)


def damage_shape(state: dict[str, torch.Tensor]) -> None:
    state["model.layers.1.self_attn.k_proj.weight"] = torch.zeros(8, 24)


def damage_finite(state: dict[str, torch.Tensor]) -> None:
    state["model.norm.weight"] = state["model.norm.weight"].clone()
    state["model.norm.weight"][3] = torch.nan


def damage_tie(state: dict[str, torch.Tensor]) -> None:
    state["lm_head.weight"] = state["lm_head.weight"] + 1


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (damage_missing, "no tensor model.layers.2.mlp.up_proj.weight"),
        (damage_unexpected, "unexpected tensor model.layers.3.mlp.up_proj.weight"),
        (damage_shape, "model.layers.1.self_attn.k_proj.weight"),
        (damage_finite, "model.norm.weight"),
        (damage_tie, "lm_head.weight differs"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(damage, named) -> None:
    mot, reference = ours_and_reference("llama")
    before = {name: tensor.clone() for name, tensor in mot.state_dict().items()}
    state = {name: tensor + 0.5 for name, tensor in reference.state_dict().items()}
    damage(state)
    with pytest.raises(CheckpointError, match=named):
        load_text_weights(mot, state, "llama")
    assert all(torch.equal(before[name], tensor) for name, tensor in mot.state_dict().items())


def test_weights_of_another_family_are_refused() -> None:
    mot, _ = ours_and_reference("gpt2")
    with pytest.raises(CheckpointError, match="the config asks for"):
        load_text_weights(mot, randomised(llama()).state_dict(), "llama")
    with pytest.raises(CheckpointError, match="no tensor"):
        load_text_weights(mot, randomised(llama()).state_dict(), "gpt2")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (GPT2Config(activation_function="relu"), "activation_function='relu'"),
        (GPT2Config(scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse_layer_idx"),
        (GPT2Config(scale_attn_weights=False), "scale_attn_weights"),
        (
            LlamaConfig(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}),
            "rope scaling",
        ),
        (LlamaConfig(attention_bias=True), "attention_bias=True with mlp_bias=False"),
        (LlamaConfig(hidden_act="gelu"), "hidden_act='gelu'"),
        (LlamaConfig(sliding_window=128), "sliding_window=128"),
        (BertConfig(), "'bert' is not supported, only gpt2, llama"),
    ],
)
def test_what_a_backbone_has_and_this_one_does_not_is_named(config, named) -> None:
    with pytest.raises(ConfigError, match=named):
        text_config_from(config)


def official_state(layers: int = 2, width: int = 24, inner: int = 48) -> dict[str, torch.Tensor]:
    """A small checkpoint with the keys of the official one."""
    generator = torch.Generator().manual_seed(2)
    shapes = {"transformer.wte.weight": (30, width), "transformer.wpe.weight": (20, width)}
    for i in (0, 1):
        for n in range(layers):
            block = f"transformer.h.{n}."
            for part, inputs, outputs in (
                (f"c_attn.fn.{i}", width, 3 * width),
                (f"c_proj.fn.{i}", width, width),
                (f"mlp.fn.{i}.c_fc", width, inner),
                (f"mlp.fn.{i}.c_proj", inner, width),
            ):
                shapes |= {f"{block}{part}.weight": (inputs, outputs), f"{block}{part}.bias": (outputs,)}
            for norm in ("ln_1", "ln_2"):
                shapes |= {f"{block}{norm}.fn.{i}.{leaf}": (width,) for leaf in ("weight", "bias")}
        shapes |= {f"transformer.ln_f.fn.{i}.{leaf}": (width,) for leaf in ("weight", "bias")}
    shapes |= {"pre_processors.1.weight": (6, width), "post_processors.1.weight": (6, width)}
    state = {OFFICIAL_PREFIX + k: torch.randn(shape, generator=generator) for k, shape in shapes.items()}
    for copy in ("lm_head.weight", "pre_processors.0.weight", "post_processors.0.weight"):
        state[OFFICIAL_PREFIX + copy] = state[OFFICIAL_PREFIX + "transformer.wte.weight"]
    return state | {"lm.fake_latent": torch.zeros(4, width), "vae.global_motion_token": torch.zeros(2, 8)}


def test_an_official_checkpoint_fills_the_whole_backbone() -> None:
    state = official_state()
    mot = MixtureOfTransformers(*official_configs(state))
    mot.load_state_dict(official_lm_tensors(state), strict=True)
    layer = OFFICIAL_PREFIX + "transformer.h.1."
    assert torch.equal(mot.motion.layers[1].mlp_in.weight, state[layer + "mlp.fn.1.c_fc.weight"].T)
    assert torch.equal(mot.text.layers[1].attention_out.weight, state[layer + "c_proj.fn.0.weight"].T)
    assert torch.equal(mot.motion.token_embedding.weight, state[OFFICIAL_PREFIX + "pre_processors.1.weight"])


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("transformer.h.1.c_attn.fn.1.bias", None, "no tensor transformer.h.1.c_attn.fn.1.bias"),
        ("transformer.wte.weight", None, "no tensor lm.language_model.transformer.wte.weight"),
        (
            "transformer.h.0.c_attn.fn.2.bias",
            torch.zeros(3),
            "unexpected tensor transformer.h.0.c_attn.fn.2.bias",
        ),
        ("post_processors.0.weight", torch.zeros(30, 24), "post_processors.0.weight differs"),
        ("transformer.h.0.c_proj.fn.1.bias", torch.zeros(7), r"c_proj.fn.1.bias \(7,\)"),
    ],
)
def test_an_official_checkpoint_that_is_not_whole_is_refused(key, value, named) -> None:
    state = official_state()
    if value is None:
        del state[OFFICIAL_PREFIX + key]
    else:
        state[OFFICIAL_PREFIX + key] = value
    with pytest.raises(CheckpointError, match=named):
        official_lm_tensors(state)
