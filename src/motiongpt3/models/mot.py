"""The Mixture-of-Transformers backbone: two plain transformers that meet only inside attention.

The text branch is a pretrained language model, tensor for tensor; the motion branch has its own width,
norms, projections and MLPs, and a layer of its own for each text layer it is attached to. Each modality stays
in its own dense tensor from embedding to hidden state. In an attached layer the keys and values of both are
put side by side and every token attends to all that lie at earlier positions; the other layers belong to
text alone. With text only, the hidden states are those of the language model.

The model turns embeddings into hidden states. It knows nothing of tasks, latents, heads or tokenizers.

Shapes: B batch, S text tokens, M motion tokens, N tokens of either; D width of a branch; H query heads,
G key/value heads, E width of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motiongpt3.errors import ConfigError
from motiongpt3.models.attention import Rotation, Timeline, TokenStream, attend, attention_mask
from motiongpt3.models.cache import KeyValueCache, StreamCache

__all__ = [
    "KeyValueCache",
    "MixtureOfTransformers",
    "MoTOutput",
    "MotionBranchConfig",
    "TextBranchConfig",
    "TokenStream",
    "attached_layers",
]

INITIAL_DEVIATION = 0.02


@dataclass(frozen=True)
class TextBranchConfig:
    """A decoder-only language model, whatever family it comes from."""

    layers: int  # transformer layers
    width: int  # of the hidden states
    heads: int  # query heads
    kv_heads: int  # key/value heads; each serves heads / kv_heads query heads
    head_dim: int  # width of one head
    mlp_width: int  # hidden width of the MLP
    vocabulary_size: int  # rows of the token embedding
    max_positions: int  # longest sequence
    positions: Literal["learned", "rotary"]  # a table added to the embeddings, or rotated queries and keys
    rope_theta: float  # base of the rotary angles; unused with learned positions
    norm: Literal["layer", "rms"]
    norm_epsilon: float
    mlp: Literal["gelu_tanh", "swiglu"]
    biases: bool  # in every linear layer of attention and MLP
    tied_embeddings: bool  # the output layer is the token embedding
    dropout: float  # on embeddings and on what attention and MLP add; not on attention weights

    def __post_init__(self) -> None:
        for name, known in (
            ("positions", ("learned", "rotary")),
            ("norm", ("layer", "rms")),
            ("mlp", ("gelu_tanh", "swiglu")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"text branch: {name} is {getattr(self, name)!r}, not one of {known}")
        if self.heads % self.kv_heads:
            raise ConfigError(f"text branch: kv_heads {self.kv_heads} does not divide heads {self.heads}")
        if self.positions == "rotary" and self.head_dim % 2:
            raise ConfigError(f"text branch: rotary positions need an even head_dim, not {self.head_dim}")


@dataclass(frozen=True)
class MotionBranchConfig:
    """The motion branch; what it shares with the text branch (heads, norm and MLP type) is not repeated."""

    width: int  # of the hidden states
    mlp_width: int  # hidden width of the MLP
    layers: tuple[int, ...]  # indices of the text layers it is attached to, ascending; see `attached_layers`
    attention: Literal["causal", "bidirectional"]  # among the motion tokens of one block
    vocabulary_size: int  # special motion tokens (placeholders and the like)
    dropout: float  # on embeddings and on what attention and MLP add

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if self.attention not in ("causal", "bidirectional"):
            raise ConfigError(f"motion branch: attention is {self.attention!r}, not causal or bidirectional")
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise ConfigError(
                f"motion branch: layers must be ascending text-layer indices, not {self.layers}"
            )


def attached_layers(text_layers: int, which: str) -> tuple[int, ...]:
    """Text-layer indices for ``"all"``, ``"last L"`` or ``"every K"`` (each K-th, counted so as to end on K).

    ``attached_layers(30, "every 5")`` is (4, 9, 14, 19, 24, 29).
    """
    word, _, number = which.partition(" ")
    if which == "all":
        return tuple(range(text_layers))
    if word in ("last", "every") and number.isdecimal() and 1 <= int(number) <= text_layers:
        first, step = (text_layers - int(number), 1) if word == "last" else (int(number) - 1, int(number))
        return tuple(range(first, text_layers, step))
    raise ConfigError(
        f"cannot attach motion layers to {which!r}: say 'all', 'last L' or 'every K', at most {text_layers}"
    )


class MoTOutput(NamedTuple):
    """Hidden states after the final norms, (B, S, text width) and (B, M, motion width), or None."""

    text_hidden: Tensor | None
    motion_hidden: Tensor | None


class Layer(nn.Module):
    """One pre-norm transformer layer of one branch, in two halves: before and after attention."""

    def __init__(self, width: int, mlp_width: int, shared: TextBranchConfig, dropout: float) -> None:
        super().__init__()
        self.head_dim = shared.head_dim
        self.head_counts = (shared.heads, shared.kv_heads)
        self.gated = shared.mlp == "swiglu"
        mlp_inputs = 2 * mlp_width if self.gated else mlp_width
        joint_heads = shared.heads + 2 * shared.kv_heads
        self.attention_norm = norm(width, shared)
        self.query_key_value = nn.Linear(width, joint_heads * shared.head_dim, bias=shared.biases)
        self.attention_out = nn.Linear(shared.heads * shared.head_dim, width, bias=shared.biases)
        self.mlp_norm = norm(width, shared)
        self.mlp_in = nn.Linear(width, mlp_inputs, bias=shared.biases)
        self.mlp_out = nn.Linear(mlp_width, width, bias=shared.biases)
        self.dropout = nn.Dropout(dropout)

    def queries_keys_values(self, x_BND: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, N, E), keys and values (B, G, N, E), rotated if positions are rotary."""
        heads, kv_heads = self.head_counts
        qkv_BNHE = self.query_key_value(self.attention_norm(x_BND)).unflatten(-1, (-1, self.head_dim))
        qk, v = qkv_BNHE.transpose(1, 2).split([heads + kv_heads, kv_heads], dim=1)
        q, k = (qk if rotation is None else rotation.apply(qk)).split([heads, kv_heads], dim=1)
        return q, k, v

    def after_attention(self, x_BND: Tensor, attended_BHNE: Tensor) -> Tensor:
        """The layer's output (B, N, D), from its input and what its queries attended to."""
        x_BND = x_BND + self.dropout(self.attention_out(attended_BHNE.transpose(1, 2).flatten(2)))
        return x_BND + self.dropout(self.mlp_out(self._activate(self.mlp_in(self.mlp_norm(x_BND)))))

    def _activate(self, inner: Tensor) -> Tensor:
        if not self.gated:
            return F.gelu(inner, approximate="tanh")
        gate, up = inner.chunk(2, dim=-1)
        return F.silu(gate) * up


def norm(width: int, shared: TextBranchConfig) -> nn.Module:
    """The norm of the text family, of any width."""
    kind = nn.LayerNorm if shared.norm == "layer" else nn.RMSNorm
    return kind(width, eps=shared.norm_epsilon)


class Branch(nn.Module):
    """One modality's transformer: embedding tables, layers, final norm. The mixture does the attention."""

    def __init__(
        self,
        layer_indices: tuple[int, ...],
        width: int,
        mlp_width: int,
        vocabulary_size: int,
        dropout: float,
        shared: TextBranchConfig,
        own_positions: bool,
    ) -> None:
        super().__init__()
        self.layer_numbers = {index: number for number, index in enumerate(layer_indices)}
        self.token_embedding = nn.Embedding(vocabulary_size, width)
        self.position_embedding = nn.Embedding(shared.max_positions, width) if own_positions else None
        self.layers = nn.ModuleList(Layer(width, mlp_width, shared, dropout) for _ in layer_indices)
        self.final_norm = norm(width, shared)
        self.dropout = nn.Dropout(dropout)

    def layer_at(self, index: int) -> Layer:
        """The layer that stands at text layer ``index``."""
        return cast(Layer, self.layers[self.layer_numbers[index]])

    @torch.no_grad()
    def initialise(self) -> None:
        """Weights N(0, 0.02), biases 0; residual outputs scaled by 1/sqrt(2 · layers)."""
        residual_scale = 1 / math.sqrt(2 * len(self.layers))
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif "norm" not in name:
                writes_residual = name.endswith(("attention_out.weight", "mlp_out.weight"))
                parameter.normal_(0, INITIAL_DEVIATION * (residual_scale if writes_residual else 1))


@dataclass
class Side:
    """One branch in the midst of a forward pass: its new tokens, and what it remembers of earlier ones."""

    branch: Branch
    timeline: Timeline
    memory: StreamCache
    hidden_BND: Tensor
    rotation: Rotation | None

    def before_attention(self, index: int) -> Tensor:
        """Queries (B, H, N, E) of the new tokens; their keys and values go to memory."""
        query, key, value = self.branch.layer_at(index).queries_keys_values(self.hidden_BND, self.rotation)
        self.memory.append(index, key, value)
        return query

    def after_attention(self, index: int, attended_BHNE: Tensor) -> None:
        """Take what the queries attended to through the rest of the layer."""
        self.hidden_BND = self.branch.layer_at(index).after_attention(self.hidden_BND, attended_BHNE)

    def output(self) -> Tensor:
        """Hidden states after the final norm."""
        return self.branch.final_norm(self.hidden_BND)


class MixtureOfTransformers(nn.Module):
    """Text and motion branches joined by attention; see the module docstring.

    With learned positions the motion branch uses the text's table if the widths agree (as the official
    weights do) and has its own otherwise. Rotary positions need no table and are shared always.

    Raises `ConfigError` if the motion branch is attached to text layers that do not exist.
    """

    def __init__(self, text_config: TextBranchConfig, motion_config: MotionBranchConfig) -> None:
        super().__init__()
        if motion_config.layers[-1] >= text_config.layers:
            raise ConfigError(
                f"the motion branch is attached to text layer {motion_config.layers[-1]}, "
                f"but the text branch has layers 0 to {text_config.layers - 1}"
            )
        self.text_config = text_config
        self.motion_config = motion_config
        learned = text_config.positions == "learned"
        self.text = Branch(
            tuple(range(text_config.layers)),
            text_config.width,
            text_config.mlp_width,
            text_config.vocabulary_size,
            text_config.dropout,
            text_config,
            own_positions=learned,
        )
        self.motion = Branch(
            motion_config.layers,
            motion_config.width,
            motion_config.mlp_width,
            motion_config.vocabulary_size,
            motion_config.dropout,
            text_config,
            own_positions=learned and motion_config.width != text_config.width,
        )
        self.text_head = (
            None
            if text_config.tied_embeddings
            else nn.Linear(text_config.width, text_config.vocabulary_size, bias=False)
        )
        self.text.initialise()
        self.motion.initialise()
        if self.text_head is not None:
            nn.init.normal_(self.text_head.weight, std=INITIAL_DEVIATION)

    def forward(
        self,
        text: TokenStream | None = None,
        motion: TokenStream | None = None,
        cache: KeyValueCache | None = None,
    ) -> MoTOutput:
        """Hidden states of the new tokens, which see one another and what is in ``cache``, and extend it."""
        cache = KeyValueCache() if cache is None else cache
        text_side = None if text is None else self._side(self.text, text, cache.text)
        motion_side = None if motion is None else self._side(self.motion, motion, cache.motion)
        text_only = [side for side in (text_side,) if side is not None]
        both = [side for side in (text_side, motion_side) if side is not None]
        joint_mask = self._mask(both, cache, with_motion=True)
        text_mask = self._mask(text_only, cache, with_motion=False) if text_only else joint_mask

        for index in range(self.text_config.layers):
            attached = index in self.motion.layer_numbers
            sides = both if attached else text_only
            if not sides:
                continue
            queries = [side.before_attention(index) for side in sides]
            keys, values = cache.keys_values(index, attached, queries[0].dtype)
            attended = attend(torch.cat(queries, dim=2), keys, values, joint_mask if attached else text_mask)
            for side, part in zip(sides, attended.split([query.shape[2] for query in queries], dim=2)):
                side.after_attention(index, part)

        return MoTOutput(*(None if side is None else side.output() for side in (text_side, motion_side)))

    def encode_text(self, text: TokenStream, layers: tuple[int, ...] | None = None) -> KeyValueCache:
        """The text's keys and values at ``layers`` (default: those with motion attached), and nothing else.

        What motion that comes after the text needs of it. Text is computed only as far as the last of
        ``layers``; a frozen branch records no gradients.
        """
        layers = self.motion_config.layers if layers is None else layers
        cache = KeyValueCache()
        side = self._side(self.text, text, cache.text)
        mask = self._mask([side], cache, with_motion=False)
        for index in range(max(layers) + 1):
            query = side.before_attention(index)
            if index < max(layers):
                keys, values = cache.text.keys[index], cache.text.values[index]
                side.after_attention(index, attend(query, keys, values, mask))
            if index not in layers:
                del cache.text.keys[index], cache.text.values[index]
        return cache

    def embed_text(self, ids: Tensor) -> Tensor:
        """Embeddings (B, S, text width) of text tokens, without positions."""
        return self.text.token_embedding(ids)

    def embed_motion(self, ids: Tensor) -> Tensor:
        """Embeddings (B, M, motion width) of special motion tokens, without positions."""
        return self.motion.token_embedding(ids)

    def text_logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits (..., vocabulary) from text hidden states."""
        head = self.text.token_embedding if self.text_head is None else self.text_head
        return F.linear(hidden, head.weight)

    def freeze_text(self) -> None:
        """Keep the language model as it is: no gradients, and no dropout even while training."""
        for module in (self.text, self.text_head):
            if module is not None:
                module.requires_grad_(False)
        self.text.eval()

    @property
    def text_is_frozen(self) -> bool:
        """Whether no parameter of the text branch is trained."""
        return not any(parameter.requires_grad for parameter in self.text.parameters())

    def train(self, mode: bool = True) -> MixtureOfTransformers:
        """Switch dropout on or off; a frozen text branch stays without."""
        super().train(mode)
        if self.text_is_frozen:
            self.text.eval()
        return self

    def _side(self, branch: Branch, stream: TokenStream, memory: StreamCache) -> Side:
        """Let new tokens into their branch, and announce them to its memory."""
        config = self.text_config
        hidden_BND, rotation = stream.embeddings, None
        if config.positions == "rotary":
            rotation = Rotation.of(stream.positions, config.head_dim, config.rope_theta)
        else:
            own = branch.position_embedding
            table = self.text.position_embedding if own is None else own
            hidden_BND = hidden_BND + cast(nn.Embedding, table)(stream.positions)
        memory.extend(stream.timeline)
        return Side(branch, stream.timeline, memory, branch.dropout(hidden_BND), rotation)

    def _mask(self, sides: list[Side], cache: KeyValueCache, with_motion: bool) -> Tensor:
        """Who among the new tokens of ``sides`` sees whom of ``cache``: (B, 1, Q, K)."""
        queries = [side.timeline for side in sides]
        device = queries[0].positions.device
        own_keys, stored = [], 0
        for memory in (cache.text, cache.motion):
            stored += memory.length
            for side in sides:
                if side.memory is memory:
                    own_keys.append(torch.arange(stored - side.timeline.length, stored, device=device))
        bidirectional = self.motion_config.attention == "bidirectional"
        return attention_mask(
            Timeline.joined(queries), cache.timeline(with_motion), torch.cat(own_keys), bidirectional
        )
