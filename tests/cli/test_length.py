from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motiongpt3.cli.length import parse_length
from motiongpt3.errors import InputError


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("120", 120),
        ("6s", 120),
        ("2.5s", 50),
        ("2.52 s", 50),
        (" 40 ", 40),
        ("3 seconds", 60),
        ("60 frames", 60),
    ],
)
def test_lengths_become_frames(text, frames):
    assert parse_length(text).to_frames(20.0, (20, 200)) == frames


def test_seconds_follow_the_frame_rate():
    assert parse_length("4s").to_frames(30.0, (20, 200)) == 120
    assert parse_length("40").to_frames(30.0, (20, 200)) == 40


@pytest.mark.parametrize(
    "text", ["abc", "-3", "1e9", "", "6m", "s", "6s6", "nan", "inf", "0x20", "١٢٠s!", "2,5s"]
)
def test_what_is_no_length_is_refused(text):
    with pytest.raises(InputError, match="length"):
        parse_length(text)


def test_half_a_frame_is_refused_with_the_remedy():
    with pytest.raises(InputError, match=r"write 2\.5s"):
        parse_length("2.5")


@pytest.mark.parametrize("text", ["19", "0", "0s", "201", "10.1s", "999999999", "999999999s"])
def test_lengths_out_of_range_are_refused_with_the_range(text):
    with pytest.raises(InputError, match="20 to 200 frames"):
        parse_length(text).to_frames(20.0, (20, 200))


@given(st.text(max_size=12))
def test_any_text_is_a_length_or_an_input_error(text):
    try:
        length = parse_length(text)
    except InputError:
        return
    assert 0 <= length.value < 1e9
