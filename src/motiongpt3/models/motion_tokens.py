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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from motiongpt3.errors import ConfigError, InputError
from motiongpt3.generation.captions import spoken, with_marker
from motiongpt3.generation.motions import counted, paired
from motiongpt3.generation.requests import check_rate, frame_features
from motiongpt3.models.bimodal_folder import assemble_bimodal, check_prompt, read_bimodal, write_bimodal
from motiongpt3.models.cache import KeyValueCache
from motiongpt3.models.dialogue import (
    GIVEN_MARKER,
    DialogueConfig,
    MotionMark,
    request_parts,
    text_ids,
    token_ids,
)
from motiongpt3.models.folders import build, config_to_json, write_config
from motiongpt3.models.interleaving import MotionPart, TextPart, interleave
from motiongpt3.models.mot import MixtureOfTransformers, MotionBranchConfig, TextBranchConfig, TokenStream
from motiongpt3.models.motion_tokenizer import MotionTokenizer
from motiongpt3.models.text_decoding import TextDecoding, TokenChoice, decode_text, read_parts
from motiongpt3.models.vq_vae import VQVAE, VQVAEConfig
from motiongpt3.motion.motion import Motion
from motiongpt3.sampling import sample_seeds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODEL_NAME = "motion-token-gpt"
SPECIAL_TOKENS = 2
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class MotionTokenGPTConfig:
    """All of a model but its weights.

    Args:
        text_backbone: name of the language model that the text branch is loaded from (see `text_backbone`),
            or empty if the text branch and its tokenizer are in the model's own folder.
        text_fingerprint: of the exact weights of that language model; empty with an empty ``text_backbone``.
        dialogue: how requests and answers are written for the text branch.
        longest_prompt: tokens of a request, with all that is written around it.
        frames_per_second: of the motions.
        shortest_frames: of a motion that is made.
        longest_frames: of a motion that is made or read.
        temperature: by default, of the draw of motion tokens; 0 takes the likeliest.
        top_k: by default, draw from the so many likeliest; 0 from all.
        decoding: how text answers are chosen.
        text: the text branch.
        motion: the motion branch; causal, its vocabulary the codes and `SPECIAL_TOKENS` more.
        vq_vae: of the motion tokenizer.
    """

    text_backbone: str
    text_fingerprint: str
    dialogue: DialogueConfig
    longest_prompt: int
    frames_per_second: float
    shortest_frames: int
    longest_frames: int
    temperature: float
    top_k: int
    decoding: TextDecoding
    text: TextBranchConfig
    motion: MotionBranchConfig
    vq_vae: VQVAEConfig


class MotionTokenGPT(nn.Module):
    """The bimodal model over motion tokens. Make one with `from_pretrained`, or with `assemble` to train it.

    Attributes:
        config: sizes and defaults.
        motion_tokenizer: features to codes and back.
        mot: text and motion branch.
        head: from hidden states of the motion branch to logits of the next motion token.
        tokenizer: of the text branch.
    """

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

    # Making, loading, saving

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
    def from_pretrained(
        cls,
        path: str | Path,
        device: torch.device | str = "cpu",
        progress: Callable[[str], None] | None = None,
    ) -> MotionTokenGPT:
        """Read a model folder, or a model of that id from the hub; evaluation mode.

        Args:
            path: a local folder, or a hub id such as ``organisation/name``.
            device: where the weights go.
            progress: told about slow steps, such as the one-time conversion of the text backbone.

        Raises:
            CheckpointError: if the folder is no such model, or its weights do not fit its config.
            MissingDependencyError: if the text backbone is not on this machine.
        """

        def make(config: MotionTokenGPTConfig, tokenizer: PreTrainedTokenizerBase) -> MotionTokenGPT:
            return cls(config, MotionTokenizer(build(lambda: VQVAE(config.vq_vae), "vq_vae")), tokenizer)

        kind = "a model over motion tokens"
        model = read_bimodal(path, MODEL_NAME, kind, MotionTokenGPTConfig, make, progress)
        return model.eval().to(device)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json``, ``model.safetensors`` and, if the text branch is its own, the tokenizer.

        Args:
            folder: where to.
            dtype: of the language side's weights in the file, for instance ``torch.float16``; the motion
                tokenizer stays as it is, so that its codes do.
        """
        write_bimodal(self, Path(folder), self.config.text_backbone, dtype, exact=("motion_tokenizer.",))
        write_config(folder, {"model": MODEL_NAME, **config_to_json(self.config)})

    # What a request may ask for

    @property
    def fps(self) -> float:
        """Frames per second of the motions."""
        return self.config.frames_per_second

    @property
    def frame_range(self) -> tuple[int, int]:
        """The shortest and the longest motion that may be asked for, in frames."""
        return self.config.shortest_frames, self.config.longest_frames

    def validate_prompt(self, prompt: str) -> None:
        """Raise `InputError` if a prompt is empty, too long, or contains special tokens of the tokenizer."""
        check_prompt(prompt, self.tokenizer, len(self.prompt_ids(prompt)), self.config.longest_prompt)

    def prompt_ids(self, prompt: str) -> list[int]:
        """Token ids of a request without given motions, up to its answer in motion."""
        dialogue = self.config.dialogue
        text = f"{dialogue.request_prefix}{prompt}{dialogue.request_suffix}{dialogue.motion_prefix}"
        return text_ids(self.tokenizer, text)

    def describe(self) -> dict[str, str]:
        """What the model is, as names and values for people."""
        millions = {
            name: sum(parameter.numel() for parameter in module.parameters()) / 1e6
            for name, module in (
                ("text branch", self.mot.text),
                ("motion branch", self.mot.motion),
                ("VQ-VAE", self.motion_tokenizer),
            )
        }
        config, codes = self.config, self.motion_tokenizer
        shortest, longest = self.frame_range
        return {
            **{name: f"{count:.1f} M parameters" for name, count in millions.items()},
            "text backbone": config.text_backbone or "in the model's folder",
            "attached to text layers": ", ".join(map(str, config.motion.layers)),
            "motion tokens": f"{codes.vocabulary_size} codes, one for every {codes.frames_per_code} frames",
            "sampling": f"temperature {config.temperature:g}, top {config.top_k or 'all'}",
            "lengths": f"{shortest} to {longest} frames at {self.fps:g} fps, as the model ends them",
        }

    # Motions from requests

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
        _check_batch(numbers, batch_size)
        shortest, longest = self.frame_range
        for prompt in dict.fromkeys(prompts):
            self.validate_prompt(prompt)
        for length in lengths:
            if length is not None and not shortest <= length <= longest:
                raise InputError(
                    f"a length of {length} frames is outside of what the model makes: {shortest} to {longest}"
                )
        decoding = TextDecoding(
            temperature=self.config.temperature if temperature is None else temperature,
            top_k=self.config.top_k if top_k is None else top_k,
        )
        motions: list[Motion] = []
        for first in range(0, len(prompts), batch_size):
            part = slice(first, first + batch_size)
            # The last code may be for more frames than are wanted.
            limits = [(shortest, longest) if length is None else (length, length) for length in lengths[part]]
            counts = [(self._code_limit(low), self._code_limit(high)) for low, high in limits]
            codes = self._write_codes(prompts[part], counts, numbers[part], decoding)
            for prompt, (_, high), clip in zip(prompts[part], limits, self._decode(codes)):
                motions.append(Motion.from_features(clip[:high], self.fps, name=prompt))
            if progress:
                progress(len(motions), len(prompts))
        return motions

    def read_text(self, prompts: Sequence[str]) -> tuple[KeyValueCache, Tensor]:
        """Let the text branch read prompts: the keys and values that motion attends to, and lengths (B,)."""
        device = self.head.weight.device
        rows = [[TextPart(torch.tensor(self.prompt_ids(prompt), device=device))] for prompt in prompts]
        text, _, lengths = interleave(self.mot, rows)
        assert text is not None
        return self.mot.encode_text(text), lengths

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

    # Captions of motions

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
        wording = GIVEN_MARKER if prompts is None else prompts
        asked = paired(motions, prompts=wording, seeds=counted(seeds, motions))
        requests, numbers = [row[0] for row in asked], [row[1] for row in asked]
        _check_batch(numbers, batch_size)
        for request in dict.fromkeys(requests):
            self.validate_prompt(with_marker(request))
        decoding = self.config.decoding if decoding is None else decoding
        banned = token_ids(self.tokenizer, decoding.banned_tokens)
        stop = [self.config.dialogue.text_end_id(self.tokenizer)]
        captions: list[str] = []
        for first in range(0, len(motions), batch_size):
            part = slice(first, first + batch_size)
            codes = self.encode(motions[part])
            rows = [self.caption_request(one, request) for one, request in zip(codes, requests[part])]
            read = read_parts(self.mot, rows)
            written = decode_text(
                self.mot,
                read.cache,
                read.next_positions,
                read.next_logits,
                stop,
                decoding,
                numbers[part],
                banned_ids=banned,
            )
            captions += [spoken(self, ids) for ids in written]
            if progress:
                progress(len(captions), len(motions))
        return captions

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

    def caption_request(self, codes: Tensor, prompt: str = GIVEN_MARKER) -> list[TextPart | MotionPart]:
        """A request for the caption of a motion, from its codes (K,), up to the first token of the answer.

        Raises:
            InputError: if the prompt has places for more than one motion.
        """
        dialogue = self.config.dialogue
        opened = dataclasses.replace(dialogue, request_suffix=dialogue.request_suffix + dialogue.text_prefix)
        parts = request_parts(self.tokenizer, opened, with_marker(prompt))
        if sum(isinstance(part, MotionMark) for part in parts) != 1:
            raise InputError(f"a request for a caption has one place for a motion, {GIVEN_MARKER}")
        given = MotionPart(self.mot.embed_motion(self.with_ends(codes)))
        return [
            given if isinstance(part, MotionMark) else TextPart(torch.tensor(part, device=codes.device))
            for part in parts
        ]

    def with_ends(self, codes: Tensor) -> Tensor:
        """Motion tokens (K + 2,) of codes (K,): start, codes, end."""
        start, end = codes.new_tensor([self.start_token]), codes.new_tensor([self.end_token])
        return torch.cat([start, codes, end])


def _check_batch(seeds: Sequence[int], batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch_size: {batch_size} cannot be worked on together")
    for seed in seeds:
        sample_seeds(seed, 1)
