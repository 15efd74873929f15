"""The official model's numbers: its 200 M weights rebuilt, three sequences, two prompts, two captions.

Sequences are put together twice: by hand, and as requests are.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.models.backbones import official_configs, official_lm_tensors
from motiongpt3.models.dialogue import DialogueConfig, MotionMark, request_parts, text_ids
from motiongpt3.models.interleaving import MotionPart, TextPart, interleave
from motiongpt3.models.mot import MixtureOfTransformers, TokenStream
from motiongpt3.models.placeholders import LatentPlaceholders, LatentPlaceholdersConfig
from motiongpt3.models.release import ADDED_TOKENS, LATENT_FACTOR
from motiongpt3.models.text_decoding import TextDecoding, decode_text, read_parts
from tests.conftest import golden_state_dict
from tests.tokenizers import gpt2_tokenizer

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
START, END, FIRST_MOTION_ID = 50257, 50258, 50259
OUTPUT_HOLDER, INPUT_HOLDER = 50261, 50262


@pytest.fixture(scope="module")
def official() -> MixtureOfTransformers:
    """The backbone with golden weights; copies of the text embedding, which may be absent, are left out."""
    state = golden_state_dict("lm.language_model.transformer.")
    state |= golden_state_dict("lm.language_model.pre_processors.1.")
    with torch.device("meta"):
        mot = MixtureOfTransformers(*official_configs(state))
    mot.load_state_dict(official_lm_tensors(state), assign=True)
    mot.freeze_text()
    return mot.eval()


def dense(own_BN: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Each of ``tensors`` (B, N, ...) with a row's own tokens first; the rest of the row is to be ignored."""
    order = own_BN.long().argsort(dim=1, descending=True, stable=True)[:, : int(own_BN.sum(1).max())]
    return tuple(torch.stack([row[index] for row, index in zip(tensor, order)]) for tensor in tensors)


def streams(
    mot: MixtureOfTransformers, ids: Tensor, visible: Tensor, input_latents: dict[int, Tensor]
) -> tuple[TokenStream, TokenStream]:
    """Both streams of official sequences; ``input_latents``, row → (holders, width), go to their holders."""
    is_motion = ids >= FIRST_MOTION_ID
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    embeddings = mot.embed_motion((ids - FIRST_MOTION_ID).clamp(min=0))
    for row, latents in input_latents.items():
        embeddings[row, ids[row] == INPUT_HOLDER] = latents
    motion = dense(is_motion, embeddings, positions, visible & is_motion)
    text_ids, text_positions, text_visible = dense(~is_motion, ids, positions, visible & ~is_motion)
    return TokenStream(mot.embed_text(text_ids.clamp(max=END)), text_positions, text_visible), TokenStream(
        *motion
    )


@torch.no_grad()
def test_hidden_states_logits_and_loss_are_those_of_the_official_model(official, golden) -> None:
    arrays = {
        name: torch.from_numpy(array)
        for name, array in golden("lm_forward").items()
        if array.dtype.kind in "fi"
    }
    ids, visible = arrays["input_ids"], arrays["attention_mask"].bool()
    projection = golden_state_dict("lm.motion_und_head.")
    weight, bias = (projection[f"lm.motion_und_head.layers.{leaf}"] for leaf in ("weight", "bias"))
    # A latent gives four embeddings; with two latents the official order is embedding-major.
    one, two = (F.linear(latents.flatten(1), weight, bias) for latents in (arrays["mt1"], arrays["mt2"][:2]))
    latents = {1: torch.cat(one.split(768, dim=-1)), 2: torch.cat(two.split(768, dim=-1))}
    text, motion = streams(official, ids, visible, latents)
    output = official(text, motion)

    is_motion = ids >= FIRST_MOTION_ID
    hidden_text, hidden_motion = torch.zeros(3, 192, 768), torch.zeros(3, 192, 768)
    for row in range(3):
        hidden_text[row, ~is_motion[row]] = output.text_hidden[row, : int((~is_motion[row]).sum())]
        hidden_motion[row, is_motion[row]] = output.motion_hidden[row, : int(is_motion[row].sum())]
    logits = official.text_logits(hidden_text)
    targets = ids.masked_fill(is_motion | (ids == END), -100)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())

    torch.testing.assert_close(hidden_text[:, :32], arrays["text_hidden_first32"], **TOLERANCE)
    torch.testing.assert_close(hidden_motion[:, :48], arrays["motion_hidden_first48"], **TOLERANCE)
    torch.testing.assert_close(logits[:, :24, :64], arrays["text_logits_slice"], **TOLERANCE)
    torch.testing.assert_close(logits[:, :48].logsumexp(-1), arrays["text_logits_lse"], **TOLERANCE)
    torch.testing.assert_close(loss, arrays["ce_loss"], **TOLERANCE)


@torch.no_grad()
def test_conditions_of_prompts_are_those_of_the_official_model(official, golden) -> None:
    """The official assembly, with its doubled separator; by the stored-text path as well as the joint one."""
    arrays, tokenizer = golden("lm_t2m_latents"), gpt2_tokenizer()
    prompts = [tokenizer(f"Generate motion: {text} \n \n ")["input_ids"] for text in arrays["texts"]]
    rows = [[*prompt, START, *[OUTPUT_HOLDER] * 4] for prompt in prompts]
    width = max(len(row) for row in rows)
    ids = torch.tensor([row + [tokenizer.eos_token_id] * (width - len(row)) for row in rows])
    visible = torch.tensor([[column < len(row) for column in range(width)] for row in rows])
    text, motion = streams(official, ids, visible, {})
    expected = torch.from_numpy(arrays["latents"])
    torch.testing.assert_close(official(text, motion).motion_hidden, expected, **TOLERANCE)
    stored = official(motion=motion, cache=official.encode_text(text)).motion_hidden
    torch.testing.assert_close(stored, expected, **TOLERANCE)


# From here on, sequences as the project makes them.

DIALOGUE = DialogueConfig.official()
# Training has the separator once.
TRAINING_DIALOGUE = replace(DIALOGUE, request_suffix=" \n")


@pytest.fixture(scope="module")
def tokenizer():
    made = gpt2_tokenizer()
    made.add_tokens(list(ADDED_TOKENS), special_tokens=True)
    return made


@pytest.fixture(scope="module")
def placeholders() -> LatentPlaceholders:
    made = LatentPlaceholders(LatentPlaceholdersConfig.official())
    state = golden_state_dict("lm.motion_und_head.layers.")
    made.motion_in.load_state_dict({key.rpartition(".")[2]: tensor for key, tensor in state.items()})
    return made


def row(mot, tokenizer, placeholders, dialogue: DialogueConfig, request: str, latents: Tensor | None):
    """A request with the latents (n, 256) given in it."""
    given = iter([] if latents is None else placeholders.embed(latents[None])[0].chunk(len(latents)))
    parts: list[TextPart | MotionPart] = []
    for part in request_parts(tokenizer, dialogue, request):
        if part is MotionMark.GIVEN:
            parts.append(MotionPart(next(given)))
        elif part is MotionMark.MASKED:
            parts.append(special(mot, 0))
        else:
            parts.append(TextPart(torch.tensor(part)))
    assert next(given, None) is None
    return parts


def special(mot: MixtureOfTransformers, token: int) -> MotionPart:
    return MotionPart(mot.embed_motion(torch.full((4,), token)))


@torch.no_grad()
def test_requests_and_answers_are_official_sequences(official, tokenizer, placeholders, golden) -> None:
    """A prompt and its motion, a motion and its caption, and a motion whose middle is asked for."""
    arrays = golden("lm_forward")
    one, two = (torch.from_numpy(arrays[name][:, 0]) for name in ("mt1", "mt2"))
    requests = [
        ("a person walks forward", None),
        ("<Motion_Placeholder>", one),
        ("Complete the masked motion: <Motion_Placeholder_Masked>", two[:2]),
    ]
    caption = TextPart(torch.tensor(text_ids(tokenizer, f" a man jumps twice.{DIALOGUE.text_end}")))
    before, behind = (
        TextPart(torch.tensor(text_ids(tokenizer, text)))
        for text in (DIALOGUE.motion_prefix, f"{DIALOGUE.motion_suffix}{DIALOGUE.text_end}")
    )
    motion_answer = [before, special(official, OUTPUT_HOLDER - FIRST_MOTION_ID), behind]
    answers = [motion_answer, [caption], motion_answer]
    rows = [
        row(official, tokenizer, placeholders, TRAINING_DIALOGUE, request, latents) + answer
        for (request, latents), answer in zip(requests, answers)
    ]
    text, motion, lengths = interleave(official, rows)
    assert lengths.tolist() == arrays["attention_mask"].sum(1).tolist()
    output = official(text, motion)
    for stream, hidden, name, ours in (
        (text, output.text_hidden, "text_hidden_first32", lambda ids: ids < FIRST_MOTION_ID),
        (motion, output.motion_hidden, "motion_hidden_first48", lambda ids: ids >= FIRST_MOTION_ID),
    ):
        expected = torch.from_numpy(arrays[name])
        for number in range(3):
            places = stream.positions[number, stream.visible[number]]
            ids = torch.from_numpy(arrays["input_ids"][number, : int(lengths[number])])
            assert torch.equal(places, ours(ids).nonzero()[:, 0])
            compared = places < expected.shape[1]
            torch.testing.assert_close(
                hidden[number, stream.visible[number]][compared],
                expected[number, places[compared]],
                **TOLERANCE,
            )


@torch.no_grad()
def test_requests_for_motions_are_official_ones(official, tokenizer, placeholders, golden) -> None:
    arrays = golden("lm_t2m_latents")
    rows = [
        [
            *row(official, tokenizer, placeholders, DIALOGUE, f"Generate motion: {text}", None),
            TextPart(torch.tensor(text_ids(tokenizer, DIALOGUE.motion_prefix))),
            special(official, OUTPUT_HOLDER - FIRST_MOTION_ID),
        ]
        for text in arrays["texts"]
    ]
    text, motion, _ = interleave(official, rows)
    expected = torch.from_numpy(arrays["latents"])
    torch.testing.assert_close(official(text, motion).motion_hidden, expected, **TOLERANCE)


@torch.no_grad()
def test_motions_are_put_into_the_official_words(official, tokenizer, placeholders, golden) -> None:
    """Token by token: greedy, with a penalty for what was written and a ban on motion in it."""
    arrays = golden("lm_m2t")
    rows = [
        row(official, tokenizer, placeholders, DIALOGUE, "Generate text: <Motion_Placeholder>", latents)
        for latents in torch.from_numpy(arrays["z"]) * LATENT_FACTOR
    ]
    decoding, stops = TextDecoding.official(), [DIALOGUE.text_end_id(tokenizer)]
    banned = decoding.banned_ids(tokenizer)
    reading = read_parts(official, rows)
    written = decode_text(official, *reading, stops, decoding, [0, 0], banned_ids=banned)
    assert written == arrays["sequences"].tolist()
    assert [tokenizer.decode(tokens) for tokens in written] == arrays["texts"].tolist()
