"""MotionTokenGPT: the layout of tokens, generation token by token, captions, its folder, refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from motiongpt3.errors import CheckpointError, ConfigError, InputError
from motiongpt3.models.cache import KeyValueCache
from motiongpt3.models.interleaving import MotionPart, TextPart, interleave
from motiongpt3.models.motion_tokens import MotionTokenGPT
from motiongpt3.models.text_decoding import TextDecoding
from motiongpt3.motion.motion import Motion
from tests import tiny
from tests.data.datasets import features

MOTION = {"width": 12, "mlp_width": 16, "layers": [0], "dropout": 0.0}
PROMPTS = ["walk", "run fast and jump", "sit", "wave"]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_backbone(tmp_path_factory.mktemp("text") / "backbone")


@pytest.fixture(scope="module")
def model(backbone: Path) -> MotionTokenGPT:
    return tiny.token_model(backbone)


def clip(frames: int, seed: int = 0, **changes: Any) -> Motion:
    return Motion.from_features(features(frames, seed), **changes)


def motion_logits(model: MotionTokenGPT, prompt: str, codes: Sequence[int]) -> torch.Tensor:
    """Logits (K + 1, V) behind the start token and each code, in one pass without a cache."""
    tokens = model.with_ends(torch.tensor(codes, dtype=torch.long))[:-1]
    rows = [[TextPart(torch.tensor(model.prompt_ids(prompt))), MotionPart(model.mot.embed_motion(tokens))]]
    text, motion, _ = interleave(model.mot, rows)
    hidden = model.mot(text=text, motion=motion).motion_hidden
    assert hidden is not None
    return model.head(hidden[0])


@torch.no_grad()
def test_greedy_codes_are_those_of_one_pass_without_cache(model: MotionTokenGPT) -> None:
    """The fast path, token by token behind a cache in a batch, against its plain twin."""
    limits = [(2, 12)] * len(PROMPTS)
    written = model._write_codes(PROMPTS, limits, range(len(PROMPTS)), TextDecoding())
    assert len({tuple(row.tolist()) for row in written}) > 1
    for prompt, codes in zip(PROMPTS, written):
        expected: list[int] = []
        while len(expected) < 12:
            logits = motion_logits(model, prompt, expected)[-1]
            logits[model.start_token] = -torch.inf
            if len(expected) < 2:
                logits[model.end_token] = -torch.inf
            token = int(logits.argmax())
            if token == model.end_token:
                break
            expected.append(token)
        assert codes.tolist() == expected


@torch.no_grad()
def test_a_seed_means_the_same_motion_in_any_batch(model: MotionTokenGPT) -> None:
    together = model.generate(PROMPTS, seeds=[5, 6, 7, 8])
    backwards = model.generate(PROMPTS[::-1], seeds=[8, 7, 6, 5], batch_size=3)[::-1]
    for prompt, seed, motion, other in zip(PROMPTS, [5, 6, 7, 8], together, backwards):
        alone = model.generate([prompt], seeds=[seed])[0]
        for same in (alone, other):
            assert len(same) == len(motion)
            torch.testing.assert_close(same.joints, motion.joints, atol=1e-4, rtol=1e-4)
        assert motion.name == prompt
    others = model.generate(PROMPTS, seeds=[15, 16, 17, 18])
    assert any(len(a) != len(b) or not torch.equal(a.joints, b.joints) for a, b in zip(together, others))


def test_draws_follow_the_distribution(model: MotionTokenGPT) -> None:
    """The first code of many seeds is as frequent as it is probable, within top k where that is asked."""
    seeds = range(600)
    for top_k in (0, 3):
        decoding = TextDecoding(temperature=1.5, top_k=top_k)
        with torch.no_grad():
            rows = model._write_codes(["walk"] * len(seeds), [(1, 1)] * len(seeds), seeds, decoding)
            logits = motion_logits(model, "walk", [])[0, : model.start_token] / 1.5
        if top_k:
            logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -torch.inf)
        found = torch.cat(rows).bincount(minlength=model.start_token) / len(seeds)
        assert (found - logits.softmax(-1)).abs().max() < 0.07
        assert top_k == 0 or (found > 0).sum() == 3


@torch.no_grad()
def test_lengths_are_the_models_own_or_those_asked_for(model: MotionTokenGPT) -> None:
    motions = model.generate(["walk"] * 40, batch_size=40)
    lengths = {len(motion) for motion in motions}
    # From 8 frames to 80, in whole codes, and not all alike.
    assert min(lengths) >= 8
    assert max(lengths) <= 80
    assert all(length % 4 == 0 for length in lengths)
    assert len(lengths) > 5
    asked = model.generate(["walk", "run", "sit"], frames=[30, 9, 80])
    assert [len(motion) for motion in asked] == [30, 9, 80]
    assert all(motion.features is not None and motion.joints.isfinite().all() for motion in asked)
    assert [len(motion) for motion in model.generate(["walk", "run"], frames=16)] == [16, 16]


@torch.no_grad()
def test_a_model_that_only_ever_ends_makes_the_shortest_motion(backbone: Path) -> None:
    model = tiny.token_model(backbone)
    model.head.weight.zero_()
    end = model.mot.motion.final_norm
    with torch.no_grad():
        # Whatever it has read, the end token is likeliest.
        end.weight.fill_(1.0)
        model.head.weight[model.end_token] = 0.0
    assert [len(m) for m in model.generate(["walk"], temperature=0.0)] == [80]
    model.head.register_forward_hook(
        lambda module, inputs, logits: logits.index_fill(-1, torch.tensor([model.end_token]), 1e4)
    )
    assert [len(m) for m in model.generate(["walk", "run"], temperature=0.0)] == [8, 8]


@torch.no_grad()
def test_captions_continue_what_text_and_motion_say(model: MotionTokenGPT) -> None:
    """The fast path against one pass per token, in a batch of clips of several lengths."""
    motions = [clip(24), clip(41, 1), clip(12, 2)]
    captions = model.caption(motions)
    assert len(set(captions)) > 1
    end = model.config.dialogue.text_end_id(model.tokenizer)
    for motion, codes, caption in zip(motions, model.encode(motions), captions):
        assert len(codes) == len(motion) // 4
        ids: list[int] = []
        while len(ids) < 12:
            row = [*model.caption_request(codes), TextPart(torch.tensor(ids, dtype=torch.long))]
            text, given, lengths = interleave(model.mot, [row])
            assert text is not None
            assert given is not None
            assert int(lengths) == text.visible.sum() + given.visible.sum()
            hidden = model.mot(text=text, motion=given).text_hidden
            assert hidden is not None
            token = int(model.mot.text_logits(hidden[0, -1]).argmax())
            if token == end:
                break
            ids.append(token)
        assert caption == " ".join(model.tokenizer.decode(ids, skip_special_tokens=True).split())


@torch.no_grad()
def test_captions_depend_on_the_motion_and_on_the_request(model: MotionTokenGPT) -> None:
    def first_logits(codes: Sequence[int], prompt: str) -> torch.Tensor:
        rows = [model.caption_request(torch.tensor(codes), prompt)]
        text, motion, _ = interleave(model.mot, rows)
        hidden = model.mot(text=text, motion=motion, cache=KeyValueCache()).text_hidden
        assert hidden is not None
        return model.mot.text_logits(hidden[0, -1])

    same = first_logits([1, 2, 3], "<Motion_Placeholder>")
    assert not torch.allclose(first_logits([1, 2, 4], "<Motion_Placeholder>"), same)
    # Order matters: the motion branch is causal, with positions.
    assert not torch.allclose(first_logits([2, 1, 3], "<Motion_Placeholder>"), same)
    named = first_logits([1, 2, 3], "what? <Motion_Placeholder>")
    assert not torch.allclose(named, same)
    assert torch.equal(first_logits([1, 2, 3], "what?"), named)


def test_a_request_stands_around_its_motion(model: MotionTokenGPT) -> None:
    parts = model.caption_request(torch.tensor([3, 1]), "see <Motion_Placeholder> there")
    assert [type(part) for part in parts] == [TextPart, MotionPart, TextPart]
    before, motion, after = parts
    assert isinstance(before, TextPart)
    assert isinstance(after, TextPart)
    assert isinstance(motion, MotionPart)
    assert model.tokenizer.decode(before.ids) == "<|im_start|>say: see ("
    assert model.tokenizer.decode(after.ids) == ") there\nit is "
    tokens = torch.tensor([model.start_token, 3, 1, model.end_token])
    assert torch.equal(motion.embeddings, model.mot.embed_motion(tokens))
    assert model.tokenizer.decode(model.prompt_ids("walk")) == "<|im_start|>say: walk\n"


@torch.no_grad()
def test_motions_without_features_are_read_from_their_joints(model: MotionTokenGPT) -> None:
    given = clip(33)
    from_joints = Motion.from_joints(given.joints, given.fps)
    codes, from_joints_codes = model.encode([given, from_joints])
    assert len(from_joints_codes) == 8 == len(codes)
    assert model.caption([from_joints, given]) == [*model.caption([from_joints]), *model.caption([given])]


@torch.no_grad()
def test_folder_holds_all_but_the_text(model: MotionTokenGPT, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    read = MotionTokenGPT.from_pretrained(tmp_path / "model")
    assert not read.training
    assert read.mot.text_is_frozen
    assert read.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor), name
    model.save_pretrained(tmp_path / "half", torch.float16)
    half = MotionTokenGPT.from_pretrained(tmp_path / "half").state_dict()
    for name, tensor in model.state_dict().items():
        kept = name.startswith(("motion_tokenizer.", "mot.text"))
        assert torch.equal(half[name], tensor if kept else tensor.half().float()), name
    assert read.describe()["motion tokens"] == "12 codes, one for every 4 frames"


def test_text_branch_of_its_own_lies_in_the_folder(backbone: Path, tmp_path: Path) -> None:
    model = tiny.token_model(backbone)
    fields = {"text_backbone": "", "text_fingerprint": ""}
    model.config = type(model.config)(**{**vars(model.config), **fields})
    with torch.no_grad():
        model.mot.text.token_embedding.weight += 1
    model.save_pretrained(tmp_path / "model")
    read = MotionTokenGPT.from_pretrained(tmp_path / "model")
    assert torch.equal(read.mot.text.token_embedding.weight, model.mot.text.token_embedding.weight)
    assert read.prompt_ids("walk") == model.prompt_ids("walk")


def test_text_alone_is_the_backbones(model: MotionTokenGPT, backbone: Path) -> None:
    from transformers import LlamaForCausalLM

    original = LlamaForCausalLM.from_pretrained(backbone).eval()
    ids = torch.tensor([model.prompt_ids("a person walks")])
    text, _, _ = interleave(model.mot, [[TextPart(ids[0])]])
    with torch.no_grad():
        hidden = model.mot(text=text).text_hidden
        assert hidden is not None
        torch.testing.assert_close(model.mot.text_logits(hidden), original(ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"motion": MOTION | {"attention": "bidirectional"}}, "causal"),
        ({"motion": MOTION | {"vocabulary_size": 12}}, "12 codes, start and end make 14"),
        ({"shortest_frames": 3}, "frames of a code"),
        ({"shortest_frames": 81}, "not in order"),
        ({"longest_frames": 400}, "do not fit into the 128 positions"),
        ({"top_p": 0.5}, "unknown field 'top_p'"),
    ],
)
def test_descriptions_that_contradict_are_refused(
    changes: dict[str, Any], message: str, backbone: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny.token_model(backbone, **changes)


def test_requests_that_cannot_be_met_are_refused(model: MotionTokenGPT) -> None:
    for arguments, message in (
        (([" "],), "prompt is empty"),
        ((["walk <|im_start|> now"],), "has a meaning of its own"),
        ((["walk " * 30],), "too long"),
        ((["walk"], 81), "outside of what the model makes: 8 to 80"),
        ((["walk"], [8, 9]), "do not pair up"),
        ((["walk"], None, [1, 2]), "do not pair up"),
        ((["walk"], None, [-1]), "seed"),
        ((["walk"], None, None, -1.0), "temperature"),
        ((["walk"], None, None, None, -1), "top_k"),
        ((["walk"], None, None, None, None, 0), "batch_size"),
    ):
        with pytest.raises(InputError, match=message):
            model.generate(*arguments)  # type: ignore[arg-type]
    for motions, prompts, message in (
        ([clip(84)], None, "84 frames; the model reads up to 80"),
        ([clip(24, fps=30.0)], None, "30 frames a second"),
        ([clip(3)], None, "too short"),
        ([clip(24)], ["what?", "who?"], "do not pair up"),
        ([clip(24)], "what <|im_start|>", "has a meaning of its own"),
        ([clip(24)], "<Motion_Placeholder> <Motion_Placeholder>", "one place"),
        ([clip(24)], "<Frame_Placeholder> frames", "Frame_Placeholder"),
    ):
        with pytest.raises(InputError, match=message):
            model.caption(motions, prompts)  # type: ignore[arg-type]


def test_another_kind_of_folder_is_refused(model: MotionTokenGPT, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"model": "motiongpt3"}, "not a model over motion tokens"),
        ({"vq_vae": {**values["vq_vae"], "code_count": 13}}, "13 codes, start and end make 15"),
        ({"vq_vae": {**values["vq_vae"], "width": 16}}, "has shape"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**values, **change}))
        with pytest.raises((CheckpointError, ConfigError), match=message):
            MotionTokenGPT.from_pretrained(tmp_path)
