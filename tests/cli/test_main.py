from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from motiongpt3 import __version__
from motiongpt3.cli import main as command
from motiongpt3.cli.main import main
from motiongpt3.errors import CheckpointError


def echo(
    text: str,
    times: int = 1,
    loud: bool = False,
    polite: bool = True,
    sub_folder: Path | None = None,
    reply: str | None = None,
) -> int:
    """Say something.

    Args:
        text: what to say.
        times: how often.
        loud: shout.
        polite: say please.
        sub_folder: where.
        reply: what comes back.
    """
    calls.append(
        {
            "text": text,
            "times": times,
            "loud": loud,
            "polite": polite,
            "sub_folder": sub_folder,
            "reply": reply,
        }
    )
    return 7


def many(words: list[str], config: Path | None = None, model_name: list[str] | None = None) -> None:
    """Take words."""
    calls.append({"words": words, "config": config, "model_name": model_name})


def recipe(config: Path, overrides: list[str] | None = None) -> int:
    """Run a recipe."""
    calls.append({"config": config, "overrides": overrides})
    return 0


def fail() -> None:
    """Raise what the test asks for."""
    raise failure.error


calls: list[dict[str, object]] = []
failure = SimpleNamespace(error=Exception())


@pytest.fixture(autouse=True)
def _verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tests.cli.stub_verbs")
    module.__dict__.update(
        many_words=many,
        recipe=recipe,
        fail=fail,
        echo=echo,
        COMMANDS={"say": echo, "deep": {"say": echo}},
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    stubs = {
        "echo": command.Verb(module.__name__, "say", {"reply": "?"}),
        "many-words": command.Verb(module.__name__, "take words", {"words": "*"}),
        "recipe": command.Verb(module.__name__, "run", rest="overrides"),
        "fail": command.Verb(module.__name__, "raise"),
        "group": command.Verb(module.__name__, "several commands"),
    }
    monkeypatch.setattr(command, "VERBS", command.VERBS | stubs)
    calls.clear()


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr().err
    assert captured.startswith("error: ")
    assert captured.count("\n") == 1
    return captured


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in command.VERBS)


def test_no_command_is_a_usage_error(capsys):
    assert main([]) == 2
    assert "usage: motiongpt3" in capsys.readouterr().err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["info", "--help"]])
def test_help_does_not_wait_for_torch(arguments):
    script = (
        "import sys; from motiongpt3.cli.main import main; "
        f"code = main({arguments!r}); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_arguments_reach_the_function_with_their_types():
    arguments = ["hello", "42", "--times=3", "--loud", "--no-polite", "--sub-folder", "a/b-c"]
    assert main(["echo", *arguments]) == 7
    assert calls == [
        {
            "text": "hello",
            "reply": "42",
            "times": 3,
            "loud": True,
            "polite": False,
            "sub_folder": Path("a/b-c"),
        }
    ]


def test_options_may_be_read_from_a_file(tmp_path):
    config = tmp_path / "echo.yaml"
    config.write_text("times: 5\nloud: true\n")
    assert main(["echo", "hello", "--config", str(config), "--times", "6"]) == 7
    assert (calls[0]["times"], calls[0]["loud"]) == (6, True)


def test_words_are_taken_as_they_are():
    assert main(["many-words", "a person: waves", "123", "null", "[1]"]) == 0
    assert calls[0]["words"] == ["a person: waves", "123", "null", "[1]"]


def test_an_option_that_takes_a_list_may_be_given_several_times():
    assert main(["many-words", "a", "--model-name", "b c", "--model-name=1", "--model_name", "[d]"]) == 0
    assert calls[0]["model_name"] == ["b c", "1", "d"]
    assert main(["many-words", "a"]) == 0
    assert calls[1]["model_name"] is None


def test_the_rest_of_a_recipe_is_passed_on():
    assert main(["recipe", "vae.yaml", "--data", "folder", "--optimizer.steps=3"]) == 0
    assert calls == [{"config": Path("vae.yaml"), "overrides": ["--data", "folder", "--optimizer.steps=3"]}]


@pytest.mark.parametrize("arguments", [["group", "say", "hello"], ["group", "deep", "say", "hello"]])
def test_commands_may_be_nested(arguments):
    assert main(arguments) == 7
    assert calls[0]["text"] == "hello"


def test_a_group_lists_its_commands(capsys):
    assert main(["group", "--help"]) == 0
    assert "Say something." in capsys.readouterr().out
    assert main(["group"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ecko"], "did you mean 'echo'"),
        (["group", "sey"], "did you mean 'say'"),
        (["a person waves"], 'motiongpt3 generate "a person waves"'),
        (["echo"], "text"),
        (["echo", "hello", "--times", "often"], "--times"),
        (["echo", "hello", "--bogus", "1"], "--bogus"),
        (["echo", "hello", "--times"], "--times"),
        (["echo", "hello", "--config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_usage_errors_are_one_line(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in error_line(capsys)
    assert not calls


def test_an_error_of_ours_is_one_line(capsys):
    failure.error = CheckpointError("no weights\n  in   folder")
    assert main(["fail"]) == 2
    assert error_line(capsys) == "error: no weights in folder\n"


def test_debug_shows_the_traceback(capsys):
    failure.error = CheckpointError("no weights")
    assert main(["fail", "--debug"]) == 2
    captured = capsys.readouterr().err
    assert "Traceback" in captured
    assert captured.endswith("error: no weights\n")


def test_a_missing_extra_is_named(capsys):
    failure.error = ModuleNotFoundError("No module named 'lightning.pytorch'", name="lightning.pytorch")
    assert main(["fail"]) == 2
    assert "pip install 'motiongpt3[train]'" in error_line(capsys)


def test_a_refused_file_is_named(capsys):
    failure.error = PermissionError(13, "Permission denied", "out/a.npy")
    assert main(["fail"]) == 2
    assert error_line(capsys) == "error: out/a.npy: Permission denied\n"


@pytest.mark.parametrize(
    "error", [ValueError("odd"), ModuleNotFoundError("No module named 'motiongpt3.x'", name="motiongpt3.x")]
)
def test_a_bug_is_not_blamed_on_the_user(error, capsys):
    failure.error = error
    assert main(["fail"]) == 1
    message = error_line(capsys)
    assert "this is a bug" in message
    assert "--debug" in message


def test_an_interruption_is_quiet(capsys):
    failure.error = KeyboardInterrupt()
    assert main(["fail"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
