"""Writing text: against transformers, against reading everything anew for every token, and row by row."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from motiongpt3.errors import InputError
from motiongpt3.models.backbones import load_text_weights, text_config_from
from motiongpt3.models.interleaving import MotionPart, TextPart
from motiongpt3.models.mot import KeyValueCache, MixtureOfTransformers, MotionBranchConfig, TokenStream
from motiongpt3.models.text_decoding import Reading, TextDecoding, decode_text, next_token_logits, read_parts
from tests.models.test_backbones import REFERENCES, VOCABULARY, randomised
from tests.tiny import randomise

FAMILIES = pytest.mark.parametrize("family", ["gpt2", "llama"])
GREEDY = TextDecoding(max_new_tokens=12)
SAMPLED = TextDecoding(max_new_tokens=12, temperature=1.5, top_k=20, top_p=0.9)
PROMPTS = [[5, 7, 9, 11, 2], [1], [60, 3, 3]]
STOPS = (4, 17, 28)


@torch.no_grad()
def ours_and_reference(
    family: str, attention: str = "causal"
) -> tuple[MixtureOfTransformers, PreTrainedModel]:
    """A language model that does not repeat itself: with layers that drown what they are given."""
    reference = randomised(REFERENCES[family]())
    for name, parameter in reference.named_parameters():
        if "ln_" in name and name.endswith("bias"):
            parameter -= 1
        elif not any(part in name for part in ("wte", "embed_tokens", "norm", "ln_")):
            parameter *= 4
    motion_config = MotionBranchConfig(12, 20, (1, 2), attention, 4, 0.0)
    mot = MixtureOfTransformers(text_config_from(reference.config), motion_config).eval()
    load_text_weights(mot, reference.state_dict(), reference.config.model_type)
    randomise(mot.motion, deviation=1.0)
    return mot, reference


def motion_stream(mot: MixtureOfTransformers) -> TokenStream:
    """A block between the words of one row; two blocks, padded on the left, before those of the other."""
    ids = torch.tensor([[0, 1, 2, 3, 1], [0, 3, 3, 1, 0]])
    positions = torch.tensor([[2, 3, 4, 5, 6], [0, 0, 1, 2, 3]])
    visible = torch.tensor([[True] * 5, [False] + [True] * 4])
    blocks = torch.tensor([[0] * 5, [0, 0, 0, 1, 1]])
    return TokenStream(mot.embed_motion(ids), positions, visible, blocks)


def read(mot: MixtureOfTransformers, prompts: list[list[int]]) -> Reading:
    return read_parts(mot, [[TextPart(torch.tensor(prompt))] for prompt in prompts])


@FAMILIES
@pytest.mark.parametrize("stops", [(), STOPS])
def test_greedy_text_is_that_of_transformers(family: str, stops: tuple[int, ...]) -> None:
    mot, reference = ours_and_reference(family)
    written = decode_text(mot, *read(mot, PROMPTS), stops, GREEDY, [0] * 3)
    for prompt, tokens in zip(PROMPTS, written, strict=True):
        ids = torch.tensor([prompt])
        expected = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=GREEDY.max_new_tokens,
            do_sample=False,
            eos_token_id=list(stops) or None,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        assert tokens == [token for token in expected if token not in stops]
    assert (len({len(tokens) for tokens in written}) > 1) is bool(stops)


@FAMILIES
@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
@torch.no_grad()
def test_writing_is_reading_everything_anew_for_every_token(family: str, attention: str) -> None:
    """Behind text and motion, padded here and there; one row ends early."""
    mot, _ = ours_and_reference(family, attention)
    motion = motion_stream(mot)
    texts, places = [[5, 7, 9, 11], [60, 3]], [[0, 1, 7, 8], [4, 5]]
    start = torch.tensor([9, 6])

    def text_stream(more: list[list[int]]) -> TokenStream:
        rows = [[*given, *new] for given, new in zip(texts, more)]
        width = max(len(row) for row in rows)
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        at = [[*first, *range(first[-1] + 1, first[-1] + 1 + width)][:width] for first in places]
        visible = torch.tensor([[column < len(row) for column in range(width)] for row in rows])
        return TokenStream(mot.embed_text(ids), torch.tensor(at), visible)

    def anew(more: list[list[int]]) -> Tensor:
        text = text_stream(more)
        return next_token_logits(mot, mot(text, motion).text_hidden, text.visible)

    def written(stops: set[int]) -> list[list[int]]:
        rows: list[list[int]] = [[], []]
        running = {0, 1}
        for _ in range(GREEDY.max_new_tokens):
            chosen = anew(rows).argmax(-1).tolist()
            running -= {row for row in running if chosen[row] in stops}
            for row in running:
                rows[row].append(chosen[row])
        return rows

    free = written(set())
    stop = next(token for token in free[0][2:] if token not in free[0][:2] + free[1])
    expected = written({stop})
    assert 1 < len(expected[0]) < len(expected[1]) == 12

    cache, text = KeyValueCache(), text_stream([[], []])
    first = next_token_logits(mot, mot(text, motion, cache).text_hidden, text.visible)
    assert decode_text(mot, cache, start, first, [stop], GREEDY, [0, 0]) == expected

    # Afterwards the cache is as if it had read all that was written.
    positions = start + torch.tensor([len(row) for row in expected])
    more = TokenStream.sequential(mot.embed_text(torch.tensor([[1], [2]])), start=positions)
    logits = mot.text_logits(mot(more, cache=cache).text_hidden[:, 0])
    torch.testing.assert_close(logits, anew([[*expected[0], 1], [*expected[1], 2]]), atol=1e-4, rtol=1e-4)


@FAMILIES
def test_a_row_depends_on_its_seed_alone(family: str) -> None:
    mot, _ = ours_and_reference(family)
    prompts, seeds = [*PROMPTS, PROMPTS[0], PROMPTS[0]], [3, 1, 4, 3, 5]
    together = decode_text(mot, *read(mot, prompts), STOPS, SAMPLED, seeds)
    alone = [decode_text(mot, *read(mot, [p]), STOPS, SAMPLED, [s])[0] for p, s in zip(prompts, seeds)]
    assert together == alone
    assert together[0] == together[3] != together[4]
    assert len({len(tokens) for tokens in together}) > 1


def test_draws_follow_the_probabilities() -> None:
    mot, _ = ours_and_reference("llama")
    rows, decoding = 4000, TextDecoding(max_new_tokens=1, temperature=0.5, top_k=3)
    cache, lengths, _ = read(mot, [[1]])
    everywhere = torch.zeros(rows, dtype=torch.long)
    logits = torch.full((rows, VOCABULARY), -9.0)
    logits[:, [2, 50, 60, 7]] = torch.tensor([0.5, 0.25, 0.125, 0.12]).log()
    written = decode_text(mot, cache.rows(everywhere), lengths[everywhere], logits, [], decoding, range(rows))
    counts = torch.bincount(torch.tensor(written)[:, 0], minlength=VOCABULARY) / rows
    expected = torch.tensor([16.0, 4.0, 1.0]) / 21
    torch.testing.assert_close(counts[[2, 50, 60]], expected, atol=0.02, rtol=0)
    assert counts[[2, 50, 60]].sum() == 1


def test_narrow_draws_are_greedy() -> None:
    mot, _ = ours_and_reference("gpt2")
    greedy = decode_text(mot, *read(mot, PROMPTS), [], GREEDY, [0] * 3)
    for changes in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}):
        decoding = TextDecoding(**{"max_new_tokens": 12, "temperature": 1.0} | changes)
        assert decode_text(mot, *read(mot, PROMPTS), [], decoding, [1, 2, 3]) == greedy


def test_a_penalty_is_for_what_was_written_alone() -> None:
    mot, _ = ours_and_reference("gpt2")
    penalty, prompt = 1.6, list(range(0, 36, 2))
    decoding = TextDecoding(max_new_tokens=12, repetition_penalty=penalty)
    expected: list[int] = []
    for _ in range(12):
        logits = read(mot, [prompt + expected]).next_logits[0].clone()
        for token in set(expected):
            logits[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
        expected.append(int(logits.argmax()))
    written = decode_text(mot, *read(mot, [prompt]), [], decoding, [0])
    assert written == [expected]
    assert written != decode_text(mot, *read(mot, [prompt]), [], GREEDY, [0])


def test_banned_tokens_are_not_written() -> None:
    mot, _ = ours_and_reference("llama")
    free = decode_text(mot, *read(mot, [[5]]), [], GREEDY, [0])[0]
    bound = decode_text(mot, *read(mot, [[5]]), [], GREEDY, [0], banned_ids=set(free))[0]
    assert not set(free) & set(bound)
    logits = read(mot, [[5]]).next_logits[0].clone()
    logits[list(set(free))] = -torch.inf
    assert bound[0] == logits.argmax()


def test_text_ends_with_the_positions() -> None:
    mot, _ = ours_and_reference("gpt2")
    decoding = TextDecoding(max_new_tokens=30)
    prompts = [[3] * 36, [5] * 4]
    written = decode_text(mot, *read(mot, prompts), [], decoding, [0, 0])
    assert [len(tokens) for tokens in written] == [4, 30]
    alone = decode_text(mot, *read(mot, prompts[1:]), [], decoding, [0])
    assert written[1] == alone[0]
    with pytest.raises(InputError, match=r"behind position 40.*has 40 positions"):
        decode_text(mot, *read(mot, [[3] * 40, [5]]), [], decoding, [0, 0])


def test_tokens_are_told_as_they_come() -> None:
    mot, _ = ours_and_reference("gpt2")
    free = decode_text(mot, *read(mot, PROMPTS), [], GREEDY, [0] * 3)
    stop = next(token for token in free[1][1:] if token not in free[0])
    told: list[list[int | None]] = []
    written = decode_text(mot, *read(mot, PROMPTS), [stop], GREEDY, [0] * 3, on_tokens=told.append)
    assert len(written[1]) < 12
    assert [[step[row] for step in told if step[row] is not None] for row in range(3)] == written
    # Once ended, a row is silent.
    assert all(step[1] is None for step in told[len(written[1]) :])


def test_the_listener_can_stop_it() -> None:
    mot, _ = ours_and_reference("llama")
    whole = decode_text(mot, *read(mot, PROMPTS), [], GREEDY, [0] * 3)
    told: list[list[int | None]] = []

    def listen(tokens: list[int | None]) -> bool:
        told.append(tokens)
        return len(told) < 3

    cache, lengths, first = read(mot, PROMPTS)
    before = cache.text.length
    written = decode_text(mot, cache, lengths, first, [], GREEDY, [0] * 3, listen)
    assert written == [tokens[:3] for tokens in whole]
    assert (len(told), cache.text.length) == (3, before + 3)


def unchanged(cache: KeyValueCache) -> Callable[[], bool]:
    keys = {layer: tensor.clone() for layer, tensor in cache.text.keys.items()}
    return lambda: all(torch.equal(cache.text.keys[layer], tensor) for layer, tensor in keys.items())


def test_an_interrupted_cache_is_as_it_was() -> None:
    mot, _ = ours_and_reference("llama")
    cache, lengths, first = read(mot, PROMPTS)
    is_unchanged = unchanged(cache)
    calls = []

    def interrupt(tokens: list[int | None]) -> None:
        calls.append(tokens)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_text(mot, cache, lengths, first, [], GREEDY, [0] * 3, interrupt)
    assert is_unchanged()
    whole = decode_text(mot, *read(mot, PROMPTS), [], GREEDY, [0] * 3)
    assert decode_text(mot, cache, lengths, first, [], GREEDY, [0] * 3) == whole


def test_nothing_at_all_is_written_where_the_first_token_stops() -> None:
    mot, _ = ours_and_reference("gpt2")
    cache, lengths, first = read(mot, PROMPTS)
    before, everything = cache.text.length, range(VOCABULARY)
    assert decode_text(mot, cache, lengths, first, everything, GREEDY, [0] * 3) == [[], [], []]
    assert cache.text.length == before
    assert decode_text(mot, cache.rows(lengths[:0]), lengths[:0], first[:0], [], GREEDY, []) == []


def test_seeds_and_rows_must_pair_up() -> None:
    mot, _ = ours_and_reference("gpt2")
    with pytest.raises(InputError, match="3 rows of text and 2 seeds"):
        decode_text(mot, *read(mot, PROMPTS), [], GREEDY, [0, 0])


def test_rows_must_end_with_text() -> None:
    mot, _ = ours_and_reference("gpt2")
    text, motion = TextPart(torch.tensor([1, 2])), MotionPart(torch.zeros(2, 12))
    nothing = TextPart(torch.tensor([], dtype=torch.long))
    for row in ([text, motion], [text, motion, nothing], [nothing], []):
        with pytest.raises(InputError, match="end every row with some"):
            read_parts(mot, [[text], row])


@pytest.mark.parametrize(
    "changes",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"repetition_penalty": 0.0},
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(changes))}: .* cannot be used"):
        TextDecoding(**changes)  # type: ignore[arg-type]
