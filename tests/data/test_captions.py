from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motiongpt3.data.captions import Caption, format_caption, mirror_words, parse_caption
from motiongpt3.errors import InputError


def test_reads_a_line_of_humanml3d() -> None:
    caption = parse_caption("a man kicks.#a/DET man/NOUN kick/VERB#1.0#2.5\n")
    assert caption == Caption("a man kicks.", ("a/DET", "man/NOUN", "kick/VERB"), 1.0, 2.5)
    assert not caption.whole_clip
    assert caption.frames(100, 20) == (20, 50)
    assert caption.frames(30, 20) == (20, 30)


def test_frames_are_rounded_down() -> None:
    assert Caption("x", (), 0.99, 1.99).frames(100, 20) == (19, 39)


@pytest.mark.parametrize("tags", ["0.0#0.0", "nan#nan", "0#nan"])
def test_no_times_mean_the_whole_clip(tags: str) -> None:
    caption = parse_caption(f"a man kicks##{tags}")
    assert caption.whole_clip
    assert caption.tokens == ()
    assert caption.frames(70, 20) == (0, 70)


@pytest.mark.parametrize(
    "line", ["a man kicks", "a#b#0.0", "#a/DET#0.0#0.0", "a##x#0", "a##0#inf", "a##-1#2", "", "###"]
)
def test_refuses_what_is_not_a_caption_line(line: str) -> None:
    with pytest.raises(InputError) as error:
        parse_caption(line)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "caption",
    [
        Caption(" "),
        Caption("a # b"),
        Caption("two\nlines"),
        Caption("a", ("b c",)),
        Caption("a", (), 0, float("inf")),
    ],
)
def test_refuses_to_write_what_could_not_be_read(caption: Caption) -> None:
    with pytest.raises(InputError):
        format_caption(caption)


_SENTENCE = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp"), blacklist_characters="#"))
_SECONDS = st.floats(0, 1e6)


@given(
    _SENTENCE.filter(str.strip), st.lists(st.sampled_from(["a/DET", "kick/VERB", "x"])), _SECONDS, _SECONDS
)
def test_what_is_written_is_read_again(text: str, tokens: list[str], start: float, end: float) -> None:
    caption = Caption(text.strip(), tuple(tokens), start, end)
    assert parse_caption(format_caption(caption)) == caption


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("turns left, then right", "turns right, then left"),
        ("Left hand over RIGHT", "Right hand over LEFT"),
        ("walks clockwise", "walks counterclockwise"),
        ("walks counterclockwise", "walks clockwise"),
        ("turns Anti-Clockwise", "turns Clockwise"),
        ("turns counter clockwise", "turns clockwise"),
        ("turns 180 degrees anticlockwise.", "turns 180 degrees clockwise."),
        ("a leftwards curve", "a rightwards curve"),
        ("is right-handed", "is left-handed"),
        ("wave-left-hand", "wave-right-hand"),
        ("turns right around an obstacle", "turns left around an obstacle"),
        ("banks right at a run", "banks left at a run"),
        ("turns right as if old", "turns left as if old"),
        ("his right in front of the left", "his left in front of the right"),
        ("stands upright, bends", "stands upright, bends"),
        ("sits right away with the left arm", "sits right away with the right arm"),
        ("All right, at a right angle", "All right, at a right angle"),
        ("stops right in front of them", "stops right in front of them"),
        ("copyright of the brightly cleft", "copyright of the brightly cleft"),
    ],
)
def test_mirrors_directions(text: str, mirrored: str) -> None:
    assert mirror_words(text) == mirrored


_WORDS = [
    "left",
    "Right",
    "LEFT",
    "clockwise",
    "Counterclockwise",
    "leftward",
    "hand,",
    "upright",
    "right-hand",
    "a",
]


@given(st.lists(st.sampled_from(_WORDS)).map(" ".join))
def test_mirroring_twice_changes_nothing(text: str) -> None:
    assert mirror_words(mirror_words(text)) == text


@given(st.lists(st.sampled_from(_WORDS), min_size=1).map(" ".join))
def test_mirroring_changes_every_side(text: str) -> None:
    before, after = text.lower().split(), mirror_words(text).lower().split()
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert (one == other) == (one in ("hand,", "upright", "a"))


def test_tags_follow_their_words() -> None:
    caption = Caption("kick left", ("kick/VERB", "left/ADJ", "and/or/CCONJ"), 1.0, 2.0)
    assert caption.mirrored() == Caption("kick right", ("kick/VERB", "right/ADJ", "and/or/CCONJ"), 1.0, 2.0)


def test_tokens_that_do_not_fit_the_mirrored_words_are_left_out() -> None:
    assert Caption(
        "turn counter clockwise", ("turn/VERB", "counter/NOUN", "clockwise/NOUN")
    ).mirrored() == Caption("turn clockwise")
