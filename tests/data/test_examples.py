from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motiongpt3.data.examples import BadLine, Example, find_motion_file, parse_example, read_examples
from motiongpt3.errors import InputError

WORDS = st.text(
    st.characters(exclude_characters="#\n\r", exclude_categories=["C", "Z"]), min_size=1, max_size=8
)
SENTENCES = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
PATHS = st.from_regex(r"[a-z_/.]{1,12}\.npy", fullmatch=True)
BOUNDS = st.one_of(st.just(""), st.integers(0, 999).map(str), st.floats(0, 1).map(lambda x: f"{x:.3f}"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a person walks", Example(3, "a person walks")),
        ("  a  person\twalks ", Example(3, "a person walks")),
        ("what is <motion>?#clip.npy", Example(3, "what is <motion>?", "clip.npy")),
        ("#a/b.npy", Example(3, "", "a/b.npy")),
        ("go on # a b.bvh # 10", Example(3, "go on", "a b.bvh", "10")),
        ("go on#c.npy#0.25#0.75", Example(3, "go on", "c.npy", "0.25", "0.75")),
        ("go on#c.npy##40", Example(3, "go on", "c.npy", "", "40")),
        ("go on#c.npy#.5#", Example(3, "go on", "c.npy", ".5", "")),
        ("take#1#c.npy", Example(3, "take", "1#c.npy")),
        ("go on#folder#2/c.npy#5", Example(3, "go on", "folder#2/c.npy", "5")),
    ],
)
def test_lines_are_read(line: str, expected: Example) -> None:
    assert parse_example(line, 3) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("walk#", "there is none"),
        ("walk##3", "there is none"),
        ("walk#c.npy#1.5", "fraction"),
        ("walk\x00", "not text"),
        ("walk#c\x07.npy", "there is none"),
        ("  ", "empty"),
    ],
)
def test_lines_that_cannot_be_read_say_why(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_example(line, 1)


@given(SENTENCES, PATHS, BOUNDS, BOUNDS)
def test_what_is_written_is_read(text: str, path: str, start: str, end: str) -> None:
    assert parse_example(text, 1) == Example(1, text)
    assert parse_example(f"{text}#{path}", 1) == Example(1, text, path)
    assert parse_example(f"{text}#{path}#{start}", 1) == Example(1, text, path, start)
    assert parse_example(f" {text} # {path} #{start} # {end} ", 1) == Example(1, text, path, start, end)


@given(st.text(max_size=60))
def test_any_line_is_read_or_refused(line: str) -> None:
    try:
        example = parse_example(line, 1)
    except InputError:
        return
    assert example.text.isprintable()
    assert example.text or example.path


@given(BOUNDS, BOUNDS, st.integers(2, 400))
def test_stretches_are_within_the_motion(start: str, end: str, length: int) -> None:
    try:
        first, last = Example(1, "", "c.npy", start, end).frames(length)
    except InputError:
        return
    assert 0 <= first <= last - 2 <= length - 2


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        ("", "", (0, 100)),
        ("10", "40", (10, 40)),
        ("0.25", "0.75", (25, 75)),
        ("0", "1", (0, 100)),
        ("1", "1.0", (1, 100)),
        ("98", "", (98, 100)),
        ("0.5", "60", (50, 60)),
    ],
)
def test_bounds_are_frames_or_fractions(start: str, end: str, frames: tuple[int, int]) -> None:
    assert Example(1, "", "c.npy", start, end).frames(100) == frames


@pytest.mark.parametrize(("start", "end"), [("99", ""), ("40", "10"), ("0", "101"), ("1.0", ""), ("5", "6")])
def test_stretches_that_are_none_are_refused(start: str, end: str) -> None:
    with pytest.raises(InputError, match=r"c\.npy.*100 frames"):
        Example(1, "", "c.npy", start, end).frames(100)


def test_files_are_read_with_all_line_ends_marks_and_blanks(tmp_path: Path) -> None:
    path = tmp_path / "examples.txt"
    path.write_bytes("\ufeffwalk\r\n\r\n \t\r\njump#\r\nénorme\u2028saut#c.npy\nrun".encode())
    read = read_examples(path)
    assert [entry.line for entry in read] == [1, 4, 5, 6]
    assert read[0] == Example(1, "walk")
    assert isinstance(read[1], BadLine)
    assert read[2] == Example(5, "énorme saut", "c.npy")
    assert read[3] == Example(6, "run")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read"), (b"\xff\xfe\x00w", "UTF-8"), (b"\r\n \n", "no examples")],
)
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "examples.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_examples(path)


def test_paths_are_looked_for_beside_the_file_and_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, here = tmp_path / "beside", tmp_path / "here"
    for folder in (beside, here):
        folder.mkdir()
        (folder / f"{folder.name}.npy").touch()
        (folder / "both.npy").touch()
    monkeypatch.chdir(here)
    assert find_motion_file("beside.npy", beside) == beside / "beside.npy"
    assert find_motion_file("here.npy", beside) == Path("here.npy")
    assert find_motion_file("both.npy", beside) == beside / "both.npy"
    assert find_motion_file(str(here / "here.npy"), beside) == here / "here.npy"
    for missing in ("nowhere.npy", "../beside", "x" * 5000):
        with pytest.raises(InputError, match=r"no such file|cannot be"):
            find_motion_file(missing, beside)
