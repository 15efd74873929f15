"""MotionTokenGPT: the same two branches joined by attention, with motion as discrete tokens.

The codes of a `MotionTokenizer` are the vocabulary of the motion branch, with one token that starts a motion
and one that ends it. Motion is read and written one token at a time, as text is, so a motion has any length
and ends itself::

    request ─ text branch ─► keys/values ─ motion branch: start, code, code, … end ─► codes ─ VQ-VAE ─► motion
    motion ─ VQ-VAE ─► start, code, code, … end ─ motion branch ─► keys/values ─ text branch ─► caption

Shapes: B requests, K codes of a motion, M motion tokens, D width of the motion branch, V motion vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from motiongpt3.errors import ConfigError, InputError
from motiongpt3.generation.captions import with_marker, write_captions
from motiongpt3.generation.motions import Progress, counted, paired
from motiongpt3.generation.requests import check_batches, check_rate, frame_features
from motiongpt3.models.bimodal import BimodalModel
from motiongpt3.models.bimodal_folder import BimodalConfig, assemble_bimodal
from motiongpt3.models.dialogue import MotionMark, request_parts
from motiongpt3.models.folders import build, config_to_json
from motiongpt3.models.interleaving import MotionPart, TextPart
from motiongpt3.models.mot import MixtureOfTransformers, TokenStream
from motiongpt3.models.motion_tokenizer import MotionTokenizer
from motiongpt3.models.text_decoding import Reading, TextDecoding, TokenChoice, read_parts
from motiongpt3.models.vq_vae import VQVAE, VQVAEConfig
from motiongpt3.motion.motion import Motion
from motiongpt3.tasks import MOTION

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODEL_NAME = "motion-token-gpt"
SPECIAL_TOKENS = 2


@dataclass(frozen=True)
class MotionTokenGPTConfig(BimodalConfig):
    """All of a model but its weights; see also `BimodalConfig`.

    The motion branch is causal, its vocabulary the codes and `SPECIAL_TOKENS` more.

    Args:
        temperature: by default, of the draw of motion tokens; 0 takes the likeliest.
        top_k: by default, draw from the so many likeliest; 0 from all.
        vq_vae: of the motion tokenizer.
    """

    temperature: float
    top_k: int
    vq_vae: VQVAEConfig


class MotionTokenGPT(BimodalModel):
    """The bimodal model over motion tokens. Make one with `from_pretrained`, or with `assemble` to train it.

    Attributes:
        config: sizes and defaults.
        motion_tokenizer: features to codes and back.
        mot: text and motion branch.
        head: from hidden states of the motion branch to logits of the next motion token.
        tokenizer: of the text branch.
    """

    model_name = MODEL_NAME
    kind = "a model over motion tokens"
    config_class = MotionTokenGPTConfig
    exact = ("motion_tokenizer.",)

    config: MotionTokenGPTConfig

    def __init__(
        self,
        config: MotionTokenGPTConfig,
        motion_tokenizer: MotionTokenizer,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        super().__init__()
        self.config = config
        self.motion_tokenizer = motion_tokenizer
        self.tokenizer = tokenizer
        self._check_sizes()
        self.mot = build(lambda: MixtureOfTransformers(config.text, config.motion), "text and motion")
        self.head = nn.Linear(config.motion.width, config.motion.vocabulary_size, bias=False)
        nn.init.normal_(self.head.weight, std=0.02)

    def _check_sizes(self) -> None:
        config, codes = self.config, self.motion_tokenizer.vocabulary_size
        if config.motion.attention != "causal":
            raise ConfigError(
                f"motion.attention: {config.motion.attention!r}, but tokens written one after another see "
                "what is before them alone: causal"
            )
        if config.motion.vocabulary_size != codes + SPECIAL_TOKENS:
            raise ConfigError(
                f"motion.vocabulary_size: {config.motion.vocabulary_size}, but {codes} codes, start and end "
                f"make {codes + SPECIAL_TOKENS}"
            )
        if not self.motion_tokenizer.frames_per_code <= config.shortest_frames <= config.longest_frames:
            raise ConfigError(
                f"shortest_frames, longest_frames: {config.shortest_frames}, {config.longest_frames} are not "
                f"in order, or less than the {self.motion_tokenizer.frames_per_code} frames of a code"
            )
        if self.longest_motion + config.longest_prompt > config.text.max_positions:
            raise ConfigError(
                f"longest_frames: {self.longest_motion} motion tokens and {config.longest_prompt} of text do "
                f"not fit into the {config.text.max_positions} positions of the text branch"
            )

    @property
    def start_token(self) -> int:
        """Id of the token that starts a motion, behind the codes."""
        return self.motion_tokenizer.vocabulary_size

    @property
    def end_token(self) -> int:
        """Id of the token that ends a motion."""
        return self.motion_tokenizer.vocabulary_size + 1

    @property
    def longest_motion(self) -> int:
        """Motion tokens of the longest motion, with start and end."""
        return self._code_limit(self.config.longest_frames) + SPECIAL_TOKENS

    @classmethod
    def assemble(cls, description: dict[str, Any], motion_tokenizer: MotionTokenizer) -> MotionTokenGPT:
        """A model to train: pretrained text branch, trained tokenizer, random motion branch and head.

        Args:
            description: the fields of `MotionTokenGPTConfig` that the text backbone and the tokenizer do not
                settle: all but ``text``, ``text_fingerprint``, ``vq_vae`` and ``motion.vocabulary_size``.
            motion_tokenizer: trained.
        """
        vocabulary = motion_tokenizer.vocabulary_size + SPECIAL_TOKENS
        return assemble_bimodal(
            description,
            MotionTokenGPTConfig,
            lambda config, tokenizer: cls(config, motion_tokenizer, tokenizer),
            motion={"vocabulary_size": vocabulary, "attention": "causal", **description["motion"]},
            vq_vae=config_to_json(motion_tokenizer.vq_vae.config),
        )

    @classmethod
    def blank(cls, config: MotionTokenGPTConfig, tokenizer: PreTrainedTokenizerBase) -> MotionTokenGPT:
        """A model with random weights and statistics of 0 and 1."""
        return cls(config, MotionTokenizer(build(lambda: VQVAE(config.vq_vae), "vq_vae")), tokenizer)

    def describe(self) -> dict[str, str]:
        """What the model is, as names and values for people."""
        config, codes = self.config, self.motion_tokenizer
        spacing = f"one for every {codes.frames_per_code} frames"
        return self._described(
            {"text branch": self.mot.text, "motion branch": self.mot.motion, "VQ-VAE": codes},
            {
                "motion tokens": f"{codes.vocabulary_size} codes, {spacing}",
                "sampling": f"temperature {config.temperature:g}, top {config.top_k or 'all'}",
            },
        )

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[str],
        frames: Sequence[int] | int | None = None,
        seeds: Sequence[int] | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        batch_size: int = 32,
        progress: Progress | None = None,
    ) -> list[Motion]:
        """One motion for each prompt.

        Args:
            prompts: what the person does, or any request for it.
            frames: length of each motion (or of all); None lets the model end it, between the config's
                ``shortest_frames`` and ``longest_frames``.
            seeds: one per prompt, by default 0, 1, 2, …; a seed means the same motion in any batch.
            temperature: of the draw of tokens, 0 for the likeliest; by default the config's.
            top_k: draw from the so many likeliest, 0 for all; by default the config's.
            batch_size: motions made together.
            progress: called with (motions done, all motions).

        Raises:
            InputError: if a prompt, length or setting cannot be used.
        """
        rows = paired(prompts, prompts=prompts, lengths=frames, seeds=counted(seeds, prompts))
        lengths, numbers = [row[1] for row in rows], [row[2] for row in rows]
        check_batches(batch_size, numbers)
        for prompt in dict.fromkeys(prompts):
            self.validate_prompt(prompt)
        for length in lengths:
            if length is not None:
                self.check_frames(length)
        decoding = TextDecoding(
            temperature=self.config.temperature if temperature is None else temperature,
            top_k=self.config.top_k if top_k is None else top_k,
        )
        motions: list[Motion] = []
        for first in range(0, len(prompts), batch_size):
            part = slice(first, first + batch_size)
            # The last code may be for more frames than are wanted.
            limits = [self.frame_range if length is None else (length, length) for length in lengths[part]]
            counts = [(self._code_limit(low), self._code_limit(high)) for low, high in limits]
            codes = self._write_codes(prompts[part], counts, numbers[part], decoding)
            for prompt, (_, high), clip in zip(prompts[part], limits, self._decode(codes)):
                motions.append(Motion.from_features(clip[:high], self.fps, name=prompt))
            if progress:
                progress(len(motions), len(prompts))
        return motions

    def motion_stream(self, tokens: Tensor, visible: Tensor, starts: Tensor) -> TokenStream:
        """Motion tokens (B, M), the ``visible`` ones at consecutive positions from ``starts`` (B,)."""
        return TokenStream.sequential(self.mot.embed_motion(tokens), visible, start=starts)

    def _write_codes(
        self,
        prompts: Sequence[str],
        counts: Sequence[tuple[int, int]],
        seeds: Sequence[int],
        decoding: TextDecoding,
    ) -> list[Tensor]:
        """The codes (K,) of each motion, token by token; ``counts`` are the fewest and the most of each."""
        distinct = list(dict.fromkeys(prompts))
        cache, lengths = self.read_text(distinct)
        device = lengths.device
        numbers = torch.tensor([distinct.index(prompt) for prompt in prompts], device=device)
        cache, positions_B = cache.rows(numbers), lengths[numbers]
        choose = TokenChoice(decoding, [self.start_token], seeds)
        fewest_B, most_B = torch.tensor(counts, device=device).T
        rows = list(range(len(prompts)))
        written: list[list[int]] = [[] for _ in prompts]
        tokens_BM = torch.full((len(rows), 1), self.start_token, device=device)
        while rows:
            visible_B1 = torch.ones_like(tokens_BM[:, -1:], dtype=torch.bool)
            stream = self.motion_stream(tokens_BM[:, -1:], visible_B1, positions_B)
            hidden_B1D = self.mot(motion=stream, cache=cache).motion_hidden
            assert hidden_B1D is not None
            logits_BV = self.head(hidden_B1D[:, 0])
            done = tokens_BM.shape[1] - 1
            logits_BV[:, self.end_token] = logits_BV[:, self.end_token].masked_fill(
                fewest_B > done, -torch.inf
            )
            chosen_B = choose(rows, tokens_BM[:, 1:], logits_BV)
            for row, token in zip(rows, chosen_B.tolist()):
                if token != self.end_token:
                    written[row].append(token)
            going_on_B = (chosen_B != self.end_token) & (most_B > done + 1)
            kept = going_on_B.nonzero()[:, 0]
            rows = [rows[place] for place in kept.tolist()]
            if len(kept) < len(chosen_B):
                cache = cache.rows(kept)
            tokens_BM = torch.cat([tokens_BM, chosen_B[:, None]], dim=1)[kept]
            positions_B, fewest_B, most_B = positions_B[kept] + 1, fewest_B[kept], most_B[kept]
        return [torch.tensor(row, device=device) for row in written]

    def _decode(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Features (frames, 263) of codes (K,), on the CPU."""
        counts = torch.tensor([len(row) for row in rows], device=rows[0].device)
        codes = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
        features = self.motion_tokenizer.decode(codes, counts).cpu()
        per_code = self.motion_tokenizer.frames_per_code
        return [clip[: count * per_code] for clip, count in zip(features, counts.tolist())]

    def _code_limit(self, frames: int) -> int:
        """Codes that make at least ``frames`` frames."""
        return -(-frames // self.motion_tokenizer.frames_per_code)

    @torch.inference_mode()
    def caption(
        self,
        motions: Sequence[Motion],
        prompts: Sequence[str] | str | None = None,
        seeds: Sequence[int] | None = None,
        decoding: TextDecoding | None = None,
        batch_size: int = 32,
        progress: Progress | None = None,
    ) -> list[str]:
        """What each motion shows, in words.

        Args:
            motions: at the model's frame rate.
            prompts: requests, for each or for all; by default the one of the task. A motion stands at
                ``<Motion_Placeholder>``, or at the end.
            seeds: one per motion, by default 0, 1, 2, …; without effect if the likeliest words are taken.
            decoding: how words are chosen; by default the config's.
            batch_size: motions read together.
            progress: called with (motions done, all motions).

        Raises:
            InputError: if a motion or request cannot be used.
        """
        # The motion alone, as in training.
        wording = MOTION if prompts is None else prompts
        asked = paired(motions, prompts=wording, seeds=counted(seeds, motions))
        requests, numbers = [row[0] for row in asked], [row[1] for row in asked]
        for request in dict.fromkeys(requests):
            self.validate_prompt(with_marker(request))

        def read(part: slice) -> Reading:
            codes = self.encode(motions[part])
            rows = [self.caption_request(one, request) for one, request in zip(codes, requests[part])]
            return read_parts(self.mot, rows)

        chosen = self.config.decoding if decoding is None else decoding
        return write_captions(self, read, chosen, numbers, batch_size, progress)

    def encode(self, motions: Sequence[Motion]) -> list[Tensor]:
        """Codes (K,) of each motion, on the model's device.

        Raises:
            InputError: if a motion has another frame rate than the model, or is too short or too long for it.
        """
        device = self.head.weight.device
        features = []
        for motion in motions:
            name = motion.source or motion.name
            check_rate(self, motion)
            longest = self.config.longest_frames
            if len(motion) > longest:
                raise InputError(
                    f"{name}: {len(motion)} frames; the model reads up to {longest} at once: "
                    "cut it into shorter clips"
                )
            features.append(frame_features(motion))
        lengths = torch.tensor([len(one) for one in features], device=device)
        padded = nn.utils.rnn.pad_sequence(features, batch_first=True).to(device)
        codes = self.motion_tokenizer.encode(padded, lengths)
        return [row[: self.motion_tokenizer.code_count(len(one))] for row, one in zip(codes, features)]

    def caption_request(self, codes: Tensor, prompt: str = MOTION) -> list[TextPart | MotionPart]:
        """A request for the caption of a motion, from its codes (K,), up to the first token of the answer.

        Raises:
            InputError: if the prompt has places for more than one motion.
        """
        dialogue = self.config.dialogue
        opened = dataclasses.replace(dialogue, request_suffix=dialogue.request_suffix + dialogue.text_prefix)
        parts = request_parts(self.tokenizer, opened, with_marker(prompt))
        if sum(isinstance(part, MotionMark) for part in parts) != 1:
            raise InputError(f"a request for a caption has one place for a motion, {MOTION}")
        given = MotionPart(self.mot.embed_motion(self.with_ends(codes)))
        return [
            given if isinstance(part, MotionMark) else TextPart(torch.tensor(part, device=codes.device))
            for part in parts
        ]

    def with_ends(self, codes: Tensor) -> Tensor:
        """Motion tokens (K + 2,) of codes (K,): start, codes, end."""
        start, end = codes.new_tensor([self.start_token]), codes.new_tensor([self.end_token])
        return torch.cat([start, codes, end])
