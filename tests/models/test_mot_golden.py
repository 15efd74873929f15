"""The official model's numbers: its 200 M weights rebuilt, three sequences, the conditions of two prompts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.models.backbones import official_configs, official_lm_tensors
from motiongpt3.models.mot import MixtureOfTransformers, TokenStream
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
