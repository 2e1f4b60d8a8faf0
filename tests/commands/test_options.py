"""The grammar is the same in every command: lists, folders of runs, examples, and errors in one sentence."""

import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tokenlens.cli import tokenlens
from tokenlens.commands import options
from tokenlens.errors import BadInput
from tokenlens.figures.catalogue import Source

COMMANDS = {name: tokenlens.get_command(None, name) for name in tokenlens.list_commands(None)}


def parsed(command: str, *words: str) -> dict[str, Any]:
    found = COMMANDS[command]
    assert found is not None
    return found.make_context(command, list(words)).params


@pytest.mark.parametrize("words", [["a,b,c"], ["a,b", "c"], ["a", "b", "c"], [" a, b ,,", "c,"]])
@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        ("extract", "--method", "method"),
        ("extract", "--keep-rate", "keep_rate"),
        ("extract", "--blocks", "blocks"),
        ("bench", "--precision", "precision"),
        ("bench", "--batch-size", "batch_size"),
        ("compare", "--axis", "axes"),
        ("compare", "--metric", "metrics"),
        ("compare", "--anchor", "anchors"),
        ("figures", "--format", "formats"),
        ("finetune", "--blocks", "blocks"),
        ("finetune", "--tracker", "trackers"),
        ("study", "--only", "only"),
    ],
)
def test_lists_take_commas_and_repetition(command: str, option: str, name: str, words: list[str]) -> None:
    line = [part for word in words for part in (option, word)]
    file = ["FILE"] if command == "study" else []
    assert parsed(command, *file, *line)[name] == ("a", "b", "c")
    with pytest.raises(BadInput, match=rf"^{option} ',' names nothing; name one or more, or leave it out$"):
        parsed(command, *file, option, ",")


def test_names_take_commas_too() -> None:
    assert parsed("figures", "accuracy,proxy", "depth")["names"] == ("accuracy", "proxy", "depth")
    assert parsed("methods", "topk,tome", "l2")["names"] == ("topk", "tome", "l2")


def test_pairs_are_split_before_a_name_only() -> None:
    words = ["--set", "augment.patch_drop=[0.75,0.5,0],optimizer.lr=1e-4", "--set", "data.limit=null"]
    expected = ("augment.patch_drop=[0.75,0.5,0]", "optimizer.lr=1e-4", "data.limit=null")
    assert parsed("finetune", *words)["changes"] == expected
    assert parsed("extract", "--option", "a=1,b=2", "--option", "c=3")["options"] == ("a=1", "b=2", "c=3")


@pytest.mark.parametrize("command", ["compare", "report"])
def test_runs_are_an_argument_or_an_option_and_not_two_folders(command: str) -> None:
    found = COMMANDS[command]
    assert found is not None
    seen: list[Path | None] = []

    @click.command()
    @options.runs_argument
    def shown(runs: Path | None) -> None:
        seen.append(runs)

    for words in (["here"], ["--runs", "here"], []):
        CliRunner().invoke(shown, words, catch_exceptions=False)
    assert seen == [Path("here"), Path("here"), None]
    with pytest.raises(BadInput, match="two folders of runs are given, here and --runs there; give one"):
        CliRunner().invoke(found, ["here", "--runs", "there"], catch_exceptions=False)


def test_figures_take_runs_among_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("mine", "depth"):
        Path(folder).mkdir()
    opened: list[Path] = []
    source = Source()
    monkeypatch.setattr(Source, "open", lambda _results, runs: opened.append(runs) or source)
    asked: list[list[str]] = []
    monkeypatch.setattr(
        "tokenlens.figures.output.write.draw_all",
        lambda given, *_: asked.append([figure.name for figure in given]) or [],
    )
    command = COMMANDS["figures"]
    assert command is not None
    draw = partial(CliRunner().invoke, command, catch_exceptions=False)
    for words in (["mine", "depth"], ["depth", "not/there"], ["depth"], ["depth", "--runs", "mine"]):
        draw(words)
    assert opened == [Path("mine"), Path("not/there"), Path("runs"), Path("mine")]
    assert asked == [["depth"]] * 4  # though a folder bears the figure's name
    for words in (["mine", "--runs", "there"], ["mine", "not/there"]):
        with pytest.raises(BadInput, match=r"two folders of runs are given, mine and .*there; give one"):
            draw(words)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_and_ends_in_examples_that_can_be_typed(command: str) -> None:
    wide = {"COLUMNS": "200"}
    done = CliRunner(env=wide).invoke(tokenlens, [*command.split(), "--help"], catch_exceptions=False)
    lines = done.output.rstrip().splitlines()
    assert max(map(len, lines)) <= 80
    shown = [re.split(r"\s{2,}", line.strip())[0] for line in lines[lines.index("  Examples:") + 1 :]]
    assert shown
    for line in shown:
        _, name, *words = shlex.split(line[line.index("tokenlens") :])
        parsed(name, *words)
