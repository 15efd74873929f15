"""The Mixture-of-Transformers against a reference written token by token, and the properties it promises.

Parity of the text branch with transformers is in ``test_backbones.py``, parity of the whole with the official
model in ``test_mot_golden.py``.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.mot import (
    KeyValueCache,
    MixtureOfTransformers,
    MotionBranchConfig,
    TextBranchConfig,
    TokenStream,
    attached_layers,
)

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}  # models in float64, rotary angles in float32
VOCABULARY, MOTION_VOCABULARY = 31, 5
GPT2 = TextBranchConfig(
    layers=4,
    width=24,
    heads=4,
    kv_heads=4,
    head_dim=6,
    mlp_width=40,
    vocabulary_size=VOCABULARY,
    max_positions=32,
    positions="learned",
    rope_theta=0.0,
    norm="layer",
    norm_epsilon=1e-5,
    mlp="gelu_tanh",
    biases=True,
    tied_embeddings=True,
    dropout=0.1,
)
LLAMA = dataclasses.replace(
    GPT2,
    kv_heads=2,
    positions="rotary",
    rope_theta=1000.0,
    norm="rms",
    mlp="swiglu",
    biases=False,
    dropout=0.0,
)
FAMILIES = pytest.mark.parametrize("text_config", [GPT2, LLAMA], ids=["gpt2", "llama"])
ATTENTION = pytest.mark.parametrize("attention", ["causal", "bidirectional"])


def mixture(
    text_config: TextBranchConfig, attention: str = "causal", width: int = 16, layers: str = "last 2"
) -> MixtureOfTransformers:
    motion_config = MotionBranchConfig(
        width, 20, attached_layers(text_config.layers, layers), attention, MOTION_VOCABULARY, dropout=0.1
    )
    mot = MixtureOfTransformers(text_config, motion_config).eval().double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in mot.named_parameters():
            noise = 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(1 + noise if "norm" in name else noise)
    return mot


def interleaved(mot: MixtureOfTransformers) -> tuple[TokenStream, TokenStream]:
    """Two rows: text, motion, text, motion; and one that begins with motion, with padding in both streams."""
    generator = torch.Generator().manual_seed(4)
    text_ids = torch.randint(VOCABULARY, (2, 7), generator=generator)
    motion_ids = torch.randint(MOTION_VOCABULARY, (2, 6), generator=generator)
    text_positions = torch.tensor([[0, 1, 2, 6, 7, 8, 9], [4, 5, 6, 7, 0, 0, 0]])
    text_visible = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    motion_positions = torch.tensor([[3, 4, 5, 10, 11, 12], [0, 0, 0, 1, 2, 3]])
    motion_visible = torch.tensor([[True] * 6, [False] * 2 + [True] * 4])
    blocks = torch.tensor([[0, 0, 0, 1, 1, 1], [7, 7, 7, 7, 7, -1]])
    return (
        TokenStream(mot.embed_text(text_ids), text_positions, text_visible),
        TokenStream(mot.embed_motion(motion_ids), motion_positions, motion_visible, blocks),
    )


def text_then_motion(mot: MixtureOfTransformers, rows: int = 3) -> tuple[TokenStream, TokenStream]:
    """Captions of different lengths, padded on the right, and blocks of motion that follow them."""
    generator = torch.Generator().manual_seed(5)
    text_ids = torch.randint(VOCABULARY, (rows, 8), generator=generator)
    motion_ids = torch.randint(MOTION_VOCABULARY, (rows, 5), generator=generator)
    lengths = torch.tensor([8, 3, 5])[:rows]
    visible = torch.arange(8) < lengths[:, None]
    motion_visible = torch.arange(5) < torch.tensor([5, 4, 2])[:rows, None]
    return (
        TokenStream.sequential(mot.embed_text(text_ids), visible),
        TokenStream.sequential(mot.embed_motion(motion_ids), motion_visible, start=lengths, block=0),
    )


def columns(stream: TokenStream, start: int, end: int, rows: slice | Tensor = slice(None)) -> TokenStream:
    fields = (getattr(stream, field.name) for field in dataclasses.fields(stream))
    return TokenStream(*(None if tensor is None else tensor[rows, start:end] for tensor in fields))


class TokenByToken:
    """The model as one sequence, each token routed through the weights of its modality: slow and plain."""

    def __init__(self, mot: MixtureOfTransformers) -> None:
        self.weights = mot.state_dict()
        self.config, self.motion_config = mot.text_config, mot.motion_config

    def __call__(self, text: TokenStream, motion: TokenStream) -> tuple[Tensor, Tensor]:
        outputs: dict[str, Tensor] = {"text": text.embeddings.clone(), "motion": motion.embeddings.clone()}
        for row in range(len(text.positions)):
            tokens = [
                {
                    "kind": kind,
                    "column": column,
                    "position": int(stream.positions[row, column]),
                    "block": -1 if stream.blocks is None else int(stream.blocks[row, column]),
                    "hidden": stream.embeddings[row, column],
                }
                for kind, stream in (("text", text), ("motion", motion))
                for column in range(stream.positions.shape[1])
                if stream.visible[row, column]
            ]
            for token in tokens:
                token["hidden"] = self.placed(token)
            for layer in range(self.config.layers):
                attached = layer in self.motion_config.layers
                self.layer(layer, [token for token in tokens if attached or token["kind"] == "text"])
            for token in tokens:
                outputs[token["kind"]][row, token["column"]] = self.norm(
                    token["hidden"], f"{token['kind']}.final_norm"
                )
        return outputs["text"], outputs["motion"]

    def placed(self, token: dict) -> Tensor:
        if self.config.positions == "rotary":
            return token["hidden"]
        own = f"{token['kind']}.position_embedding.weight"
        table = self.weights[own if own in self.weights else "text.position_embedding.weight"]
        return token["hidden"] + table[token["position"]]

    def layer(self, index: int, tokens: list[dict]) -> None:
        heads, groups, width = self.config.heads, self.config.kv_heads, self.config.head_dim
        for token in tokens:
            number = index if token["kind"] == "text" else self.motion_config.layers.index(index)
            token["prefix"] = f"{token['kind']}.layers.{number}."
            joint = self.linear(
                self.norm(token["hidden"], token["prefix"] + "attention_norm"), token, "query_key_value"
            )
            q, k, v = joint.view(-1, width).split([heads, groups, groups])
            token["q"], token["k"], token["v"] = self.turn(q, token), self.turn(k, token), v
        for token in tokens:
            seen = [other for other in tokens if self.sees(token, other)]
            attended = []
            for head in range(heads):
                group = head * groups // heads
                scores = torch.stack([token["q"][head] @ other["k"][group] for other in seen]) / math.sqrt(
                    width
                )
                attended.append(scores.softmax(0) @ torch.stack([other["v"][group] for other in seen]))
            token["attended"] = torch.cat(attended)
        for token in tokens:
            token["hidden"] = token["hidden"] + self.linear(token["attended"], token, "attention_out")
            inner = self.linear(self.norm(token["hidden"], token["prefix"] + "mlp_norm"), token, "mlp_in")
            if self.config.mlp == "swiglu":
                half = len(inner) // 2
                inner = inner[:half] * inner[:half].sigmoid() * inner[half:]
            else:
                inner = F.gelu(inner, approximate="tanh")
            token["hidden"] = token["hidden"] + self.linear(inner, token, "mlp_out")

    def sees(self, query: dict, key: dict) -> bool:
        together = query["block"] == key["block"] and query["block"] >= 0
        bidirectional = self.motion_config.attention == "bidirectional"
        return key["position"] <= query["position"] or (bidirectional and together)

    def turn(self, x: Tensor, token: dict) -> Tensor:
        if self.config.positions == "learned":
            return x
        half = x.shape[-1] // 2
        turned = x.clone()
        for pair in range(half):
            angle = token["position"] * self.config.rope_theta ** (-pair / half)
            cos, sin = math.cos(angle), math.sin(angle)
            turned[:, pair] = x[:, pair] * cos - x[:, pair + half] * sin
            turned[:, pair + half] = x[:, pair + half] * cos + x[:, pair] * sin
        return turned

    def norm(self, x: Tensor, name: str) -> Tensor:
        epsilon, weight = self.config.norm_epsilon, self.weights[name + ".weight"]
        if self.config.norm == "rms":
            return weight * x / (x.square().mean() + epsilon).sqrt()
        centred = x - x.mean()
        return weight * centred / (centred.square().mean() + epsilon).sqrt() + self.weights[name + ".bias"]

    def linear(self, x: Tensor, token: dict, name: str) -> Tensor:
        product = self.weights[f"{token['prefix']}{name}.weight"] @ x
        return product + self.weights[f"{token['prefix']}{name}.bias"] if self.config.biases else product


@FAMILIES
@ATTENTION
@pytest.mark.parametrize(("width", "layers"), [(16, "last 2"), (24, "all"), (40, "every 2")])
@torch.no_grad()
def test_the_model_is_what_it_is_token_by_token(text_config, attention, width, layers) -> None:
    mot = mixture(text_config, attention, width, layers)
    text, motion = interleaved(mot)
    output = mot(text, motion)
    expected_text, expected_motion = TokenByToken(mot)(text, motion)
    torch.testing.assert_close(output.text_hidden[text.visible], expected_text[text.visible], **TOLERANCE)
    torch.testing.assert_close(
        output.motion_hidden[motion.visible], expected_motion[motion.visible], **TOLERANCE
    )
    assert output.text_hidden.isfinite().all()
    assert output.motion_hidden.isfinite().all()


@FAMILIES
@ATTENTION
@torch.no_grad()
def test_prefilling_piece_by_piece_is_one_pass(text_config, attention) -> None:
    """Text, a block of motion, then text again token by token, through one cache."""
    mot = mixture(text_config, attention)
    text, motion = (columns(stream, 0, 7, slice(1)) for stream in interleaved(mot))
    whole, cache = mot(text, motion), KeyValueCache()
    first = mot(columns(text, 0, 3), columns(motion, 0, 3), cache)
    steps = [mot(text=columns(text, n, n + 1), cache=cache).text_hidden for n in range(3, 7)]
    last = mot(motion=columns(motion, 3, 6), cache=cache)
    torch.testing.assert_close(torch.cat([first.text_hidden, *steps], 1), whole.text_hidden, **TOLERANCE)
    pieces = torch.cat([first.motion_hidden, last.motion_hidden], 1)
    torch.testing.assert_close(pieces, whole.motion_hidden, **TOLERANCE)
    assert first.text_hidden is not None
    assert last.text_hidden is None


@FAMILIES
@ATTENTION
@torch.no_grad()
def test_motion_after_stored_text_is_the_joint_pass(text_config, attention) -> None:
    mot = mixture(text_config, attention, layers="every 2")
    text, motion = text_then_motion(mot)
    expected = mot(text, motion).motion_hidden
    cache = mot.encode_text(text)
    assert sorted(cache.text.keys) == list(mot.motion_config.layers)
    torch.testing.assert_close(mot(motion=motion, cache=cache.copy()).motion_hidden, expected, **TOLERANCE)

    keys, values = cache.text_tensors(mot.motion_config.layers)
    assert keys.shape == (2, 3, text_config.kv_heads, 8, text_config.head_dim)
    stored = KeyValueCache.from_text(
        keys.float(), values.float(), mot.motion_config.layers, text.positions, text.visible
    )
    torch.testing.assert_close(mot(motion=motion, cache=stored).motion_hidden, expected, **TOLERANCE)


@torch.no_grad()
def test_a_cache_can_be_copied_and_its_rows_chosen() -> None:
    mot = mixture(LLAMA, "bidirectional")
    text, motion = text_then_motion(mot)
    expected = mot(text, motion).motion_hidden
    cache = mot.encode_text(text)
    for _ in range(2):
        torch.testing.assert_close(
            mot(motion=motion, cache=cache.copy()).motion_hidden, expected, **TOLERANCE
        )
    order = torch.tensor([2, 0, 0, 1])
    reordered = columns(motion, 0, 5, order)
    output = mot(motion=reordered, cache=cache.rows(order)).motion_hidden
    torch.testing.assert_close(output, expected[order], **TOLERANCE)


@torch.no_grad()
def test_text_cannot_go_on_after_a_cache_of_attached_layers_alone() -> None:
    mot = mixture(LLAMA)
    text, motion = text_then_motion(mot)
    with pytest.raises(InputError, match="no keys of earlier tokens at layer 0"):
        mot(text=text, cache=mot.encode_text(text))
    with pytest.raises(InputError, match="no keys of earlier tokens at layer 2"):
        mot(motion=motion, cache=mot.encode_text(text, layers=(0, 1)))
    cache = mot.encode_text(columns(text, 0, 3), layers=attached_layers(4, "all"))
    expected = mot(text).text_hidden[:1, 3:]
    output = mot(text=columns(text, 3, 8), cache=cache).text_hidden
    torch.testing.assert_close(output[:1], expected, **TOLERANCE)


def test_stored_text_of_another_shape_is_refused() -> None:
    keys, positions = torch.zeros(2, 3, 2, 8, 6), torch.zeros(3, 8, dtype=torch.long)
    with pytest.raises(InputError, match="stored text keys"):
        KeyValueCache.from_text(keys, keys, (1, 2, 3), positions, positions == 0)
    with pytest.raises(InputError, match="stored text keys"):
        KeyValueCache.from_text(keys, keys[..., :7, :], (2, 3), positions, positions == 0)


@FAMILIES
@torch.no_grad()
def test_nothing_depends_on_what_comes_later(text_config) -> None:
    mot = mixture(text_config)
    text, motion = interleaved(mot)
    before = mot(text, motion)
    motion.embeddings[0, 4] += 1  # position 11
    text.embeddings[0, 4] += 1  # position 7
    after = mot(text, motion)
    same_text = text.positions[0] < 7
    same_motion = motion.positions[0] < 7
    assert torch.equal(before.text_hidden[0, same_text], after.text_hidden[0, same_text])
    assert torch.equal(before.motion_hidden[0, same_motion], after.motion_hidden[0, same_motion])
    changed = (before.motion_hidden[0] != after.motion_hidden[0]).any(-1)
    assert changed.tolist() == [False] * 3 + [True] * 3


@torch.no_grad()
def test_a_block_sees_itself_whole_and_no_other_block() -> None:
    mot = mixture(LLAMA, "bidirectional")
    text, motion = interleaved(mot)
    before = mot(text, motion)
    motion.embeddings[0, 2] += 1  # the last of block 0, at position 5; block 1 comes later
    after = mot(text, motion)
    changed = (before.motion_hidden[0] != after.motion_hidden[0]).any(-1)
    assert changed.tolist() == [True] * 6
    motion.embeddings[0, 5] += 1  # the last of block 1
    later = mot(text, motion)
    changed = (later.motion_hidden[0] != after.motion_hidden[0]).any(-1)
    assert changed.tolist() == [False] * 3 + [True] * 3
    assert torch.equal(later.text_hidden, after.text_hidden)


@FAMILIES
@ATTENTION
@torch.no_grad()
def test_padding_changes_nothing(text_config, attention) -> None:
    mot = mixture(text_config, attention)
    text, motion = text_then_motion(mot)
    before = mot(text, motion)
    text.embeddings[~text.visible] += 100
    text.positions[~text.visible] = 0
    motion.embeddings[~motion.visible] -= 100
    after = mot(text, motion)
    assert torch.equal(before.text_hidden[text.visible], after.text_hidden[text.visible])
    assert torch.equal(before.motion_hidden[motion.visible], after.motion_hidden[motion.visible])
    alone = mot(columns(text, 0, 3, slice(1, 2)), columns(motion, 0, 4, slice(1, 2)))
    torch.testing.assert_close(after.motion_hidden[1:2, :4], alone.motion_hidden, **TOLERANCE)


def test_a_row_of_padding_alone_is_finite_and_so_are_its_gradients() -> None:
    mot = mixture(LLAMA, "bidirectional")
    text, motion = text_then_motion(mot)
    text.visible[1] = False
    motion.visible[1] = False
    output = mot(text, motion)
    (output.text_hidden.sum() + output.motion_hidden.sum()).backward()
    assert output.motion_hidden.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in mot.parameters())


def unguarded_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention as it is written down: a query without any key gives NaN."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ v


@torch.no_grad()
def test_a_token_that_sees_nothing_sees_itself_in_any_kernel(monkeypatch) -> None:
    mot = mixture(LLAMA, "bidirectional")
    monkeypatch.setattr("motiongpt3.models.mot.attend", unguarded_attention)
    text, motion = text_then_motion(mot)
    text.visible[1] = False
    motion.visible[1] = False
    cache = KeyValueCache()
    first = mot(columns(text, 0, 2), columns(motion, 0, 2), cache)
    rest = mot(columns(text, 2, 8), columns(motion, 2, 5), cache)
    pairs = ((text, "text_hidden"), (motion, "motion_hidden"))
    for stream, name in pairs:
        hidden = torch.cat([getattr(first, name), getattr(rest, name)], dim=1)
        for column in range(hidden.shape[1]):
            token = columns(stream, column, column + 1, slice(1, 2))
            alone = mot(token) if stream is text else mot(motion=token)
            torch.testing.assert_close(hidden[1:2, column : column + 1], getattr(alone, name), **TOLERANCE)


def gradients(mot: MixtureOfTransformers, hidden: Tensor) -> dict[str, Tensor]:
    mot.zero_grad()
    hidden.square().sum().backward()
    return {name: p.grad.clone() for name, p in mot.named_parameters() if p.grad is not None}


@FAMILIES
def test_frozen_text_gets_no_gradient_and_the_fast_path_the_same_one(text_config) -> None:
    mot = mixture(text_config, "bidirectional")
    mot.freeze_text()
    text, motion = text_then_motion(mot)
    joint = gradients(mot, mot(text, motion).motion_hidden[motion.visible])
    assert all(name.startswith("motion.") for name in joint)
    assert joint["motion.layers.0.query_key_value.weight"].abs().sum() > 0

    text, motion = text_then_motion(mot)
    cache = mot.encode_text(text)
    assert not any(tensor.requires_grad for tensor in cache.text.keys.values())
    stored = gradients(mot, mot(motion=motion, cache=cache).motion_hidden[motion.visible])
    assert stored.keys() == joint.keys()
    for name, gradient in joint.items():
        torch.testing.assert_close(stored[name], gradient, **TOLERANCE)


def test_frozen_text_lets_gradients_through_to_motion_that_it_has_seen() -> None:
    mot = mixture(GPT2)
    mot.freeze_text()
    text, motion = interleaved(mot)
    found = gradients(mot, mot(text, motion).text_hidden[0, 6])
    assert found["motion.token_embedding.weight"].abs().sum() > 0
    assert all(name.startswith("motion.") for name in found)


def test_frozen_text_has_no_dropout_in_training_and_motion_has() -> None:
    mot = mixture(GPT2)
    text, motion = text_then_motion(mot)
    calm = mot(text, motion)
    mot.freeze_text()
    mot.train()
    trained = mot(text, motion)
    assert torch.equal(calm.text_hidden, trained.text_hidden)
    assert not torch.equal(calm.motion_hidden, trained.motion_hidden)


def test_it_compiles_without_a_break() -> None:
    mot = mixture(LLAMA, "bidirectional")
    text, motion = text_then_motion(mot)

    def motion_after_text(text: TokenStream, motion: TokenStream) -> Tensor:
        return mot(motion=motion, cache=mot.encode_text(text)).motion_hidden

    compiled = torch.compile(motion_after_text, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(text, motion), mot(text, motion).motion_hidden, **TOLERANCE)


def test_the_motion_branch_starts_small_and_its_outputs_smaller() -> None:
    torch.manual_seed(0)
    motion_config = MotionBranchConfig(96, 192, (2, 3), "causal", 500, 0.0)
    mot = MixtureOfTransformers(GPT2, motion_config)
    deviations = {name: float(p.detach().std()) for name, p in mot.motion.named_parameters() if p.dim() == 2}
    for name, deviation in deviations.items():
        expected = 0.02 / math.sqrt(4) if name.endswith("_out.weight") else 0.02
        assert deviation == pytest.approx(expected, rel=0.1), name
    assert not any(p.any() for name, p in mot.motion.named_parameters() if name.endswith("bias"))


def test_learned_positions_are_shared_when_the_widths_agree() -> None:
    assert mixture(GPT2, width=24).motion.position_embedding is None
    assert mixture(GPT2, width=16).motion.position_embedding is not None
    assert mixture(LLAMA, width=16).motion.position_embedding is None


def test_sequential_positions_count_visible_tokens_from_the_start_given() -> None:
    visible = torch.tensor([[False, True, True, True], [True, True, False, False]])
    stream = TokenStream.sequential(torch.zeros(2, 4, 3), visible, start=torch.tensor([5, 2]), block=1)
    assert stream.positions.tolist() == [[5, 5, 6, 7], [2, 3, 3, 3]]
    assert stream.blocks is not None
    assert (stream.blocks == 1).all()
    assert TokenStream.sequential(torch.zeros(1, 3, 2)).positions.tolist() == [[0, 1, 2]]


def test_attached_layers_are_named_in_words() -> None:
    assert attached_layers(4, "all") == (0, 1, 2, 3)
    assert attached_layers(30, "last 2") == (28, 29)
    assert attached_layers(30, "every 5") == (4, 9, 14, 19, 24, 29)
    for wrong in ("last 31", "last 0", "first 2", "every", "last two"):
        with pytest.raises(ConfigError, match="cannot attach"):
            attached_layers(30, wrong)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"layers": (2, 4)}, "text layer 4"),
        ({"layers": (2, 1)}, "ascending"),
        ({"layers": ()}, "ascending"),
        ({"attention": "both"}, "attention is 'both'"),
    ],
)
def test_a_motion_branch_that_cannot_be_is_refused(changes, named) -> None:
    sizes = {
        "width": 8,
        "mlp_width": 8,
        "layers": (1,),
        "attention": "causal",
        "vocabulary_size": 2,
        "dropout": 0.0,
    }
    with pytest.raises(ConfigError, match=named):
        MixtureOfTransformers(GPT2, MotionBranchConfig(**(sizes | changes)))


@pytest.mark.parametrize(
    "changes", [{"kv_heads": 3}, {"norm": "batch"}, {"mlp": "relu"}, {"positions": "rotary", "head_dim": 5}]
)
def test_a_text_branch_that_cannot_be_is_refused(changes) -> None:
    with pytest.raises(ConfigError, match=r"text branch: "):
        dataclasses.replace(GPT2, **changes)


def test_configs_survive_json() -> None:
    config = mixture(GPT2).motion_config
    assert MotionBranchConfig(**(dataclasses.asdict(config) | {"layers": list(config.layers)})) == config
