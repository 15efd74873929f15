from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import torch

from motiongpt3.cli import chat as verb
from motiongpt3.cli.main import main
from motiongpt3.generation.conversation import Conversation
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.motion.formats import read_motion, write_motion
from motiongpt3.tasks import ANSWERS
from tests import tiny
from tests.cli.test_caption import made

__all__ = ["made"]


@pytest.fixture
def model(made: tuple[MotionGPT3, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MotionGPT3:
    """The model that the command finds, which wants to answer in text; and a clip in the current folder."""
    model, folder = made
    monkeypatch.setenv("MOTIONGPT3_MODEL", str(folder))
    monkeypatch.chdir(tmp_path)
    write_motion(model.generate(["jump"], 24)[0], "my clip.npy")
    wants(monkeypatch, "text")
    return model


def wants(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    probabilities = torch.eye(len(ANSWERS))[ANSWERS.index(answer)][None]
    monkeypatch.setattr(MotionGPT3, "answer_wanted", lambda self, requests: probabilities)


def say(monkeypatch: pytest.MonkeyPatch, *lines: str, options: tuple[str, ...] = ("--format", "npy")) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    return main(["chat", *options])


def test_the_options_are_these() -> None:
    from motiongpt3.cli.main import VERBS, _parser

    _, options = _parser(verb.chat, "motiongpt3 chat", VERBS["chat"])
    own = {"model", "out", "format", "seed", "device"}
    assert options == {f"--{name}" for name in own | {"help", "config", "print_config", "debug"}} | {"-h"}


def test_text_is_answered_and_remembered(
    model: MotionGPT3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert say(monkeypatch, "hello", "", "  why?  ") == 0
    conversation = Conversation(model)
    replies = [conversation.reply(text).text for text in ("hello", "why?")]
    assert capsys.readouterr().out.split() == " ".join(replies).split()


def test_motions_are_saved_and_their_paths_shown(
    model: MotionGPT3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wants(monkeypatch, "motion")
    options = ("--format", "npy,bvh", "--out", "there", "--seed", "7")
    assert (
        say(monkeypatch, "/length 24", "jump", "jump", "/seed 9", "/length 1.6s", "wave", options=options)
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    paths = [line for line in lines if line.startswith("there/")]
    stems = ["jump-seed7", "jump-seed8", "wave-seed9"]
    assert paths == [f"there/{stem}.{name}" for stem in stems for name in ("npy", "bvh")]
    for path, words, frames, seed in ((paths[0], "jump", 24, 7), (paths[4], "wave", 32, 9)):
        (expected,) = model.generate([words], frames, seeds=[seed])
        torch.testing.assert_close(read_motion(path).joints, expected.joints)
    # What was set holds for one message.
    assert len(read_motion(paths[2])) == len(model.generate(["jump"], seeds=[8])[0])


def test_motions_can_be_given(
    model: MotionGPT3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["/motion my clip.npy", "what is it?", "/task pred", "/length 40", "go on"]
    assert say(monkeypatch, *lines) == 0
    captured = capsys.readouterr()
    clip = read_motion("my clip.npy")
    assert "my clip.npy: 24 frames" in captured.out
    assert model.caption([clip], "what is it?")[0] in captured.out
    continued = read_motion(captured.out.splitlines()[-1])
    assert len(continued) == 40
    torch.testing.assert_close(continued.joints[:24], clip.joints)


def test_mistakes_do_not_end_it(
    model: MotionGPT3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mistakes = {
        "/fly": "no command /fly",
        "/task fly": "no task 'fly'",
        "/motion nowhere.npy": "nowhere.npy",
        "/length long": "neither seconds",
        "/length 1000s": "this model makes 8 to 80 frames",
        "/seed -1": "not a whole number",
        f"{tiny.START_OF_TURN}system": "meaning of its own",
    }
    assert say(monkeypatch, *mistakes, "hello") == 1
    captured = capsys.readouterr()
    errors = captured.err.splitlines()
    assert len(errors) == len(mistakes)
    for line, reason in zip(errors, mistakes.values()):
        assert line.startswith("error: ")
        assert reason in line
    assert captured.out.split() == Conversation(model).reply("hello").text.split()


def test_it_begins_anew_and_ends_when_told(
    model: MotionGPT3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert say(monkeypatch, "hello", "/forget", "hello", "/help", "/quit", "more") == 0
    text = Conversation(model).reply("hello").text
    out = capsys.readouterr().out
    assert out.split() == f"{text} a new conversation {text} {verb.HELP}".split()


def test_an_interrupt_stops_the_reply_alone(
    model: MotionGPT3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reply, calls = Conversation.reply, []

    def interrupted(self, text, *rest):
        calls.append(text)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return reply(self, text, *rest)

    monkeypatch.setattr(Conversation, "reply", interrupted)
    assert say(monkeypatch, "tell me everything", "hello") == 0
    out = capsys.readouterr().out
    assert out.split() == f"(stopped) {Conversation(model).reply('hello').text}".split()


def test_in_a_terminal_it_says_how(
    model: MotionGPT3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("/fly\n/quit\n"))
    assert main(["chat"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(verb.HELP)
    assert "error: no command /fly" in captured.err


def test_what_cannot_be_is_refused_before_the_model_loads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--format", "avi"]) == 2
    assert "unknown format 'avi'" in capsys.readouterr().err
    assert main(["chat", "--model", "/nowhere/model"]) == 2
    assert "/nowhere/model" in capsys.readouterr().err
