from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from motiongpt3.render.lettering import font, text_layer, wrap


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=80), st.integers(40, 400), st.integers(1, 4))
def test_lines_fit(text, width, lines):
    wrapped = wrap(text, width, 16, lines)
    assert len(wrapped) <= lines
    assert all(font(16).getlength(line) <= width for line in wrapped)


def test_short_text_is_kept_and_long_text_is_shortened_visibly():
    assert wrap("a person  waves", 300, 16, 2) == ["a person waves"]
    assert wrap("walk " * 50, 100, 16, 2)[-1].endswith("…")
    assert wrap("", 100, 16, 2) == []


def test_text_is_centred():
    layer = text_layer((200, 40), [("middle", 100, 10)], 16)[..., 0]
    columns = layer.any(axis=0).nonzero()[0]
    assert abs((columns[0] + columns[-1]) / 2 - 100) < 3
    assert layer.max() == 1
