"""The command line: quick help, several runs in one call, and every way to say how many tokens remain."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tokenlens.cli
from tokenlens.records.store import open_runs

HEAVY = ("torch", "timm", "numpy", "xarray", "zarr", "pandas", "matplotlib", "numba", "PIL")


@pytest.mark.parametrize("words", ["--help", "extract --help", "--version", "extrat"])
def test_help_imports_nothing_heavy(words: str) -> None:
    code = f"""
import sys
sys.argv = ["tokenlens", *{words.split()!r}]
from tokenlens.cli import main
try:
    main()
except SystemExit:
    pass
print("heavy:", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: []\n") and not done.stderr.count("Traceback")


@pytest.mark.parametrize("command", [[], *([name] for name in tokenlens.cli.tokenlens.list_commands(None))])
def test_every_command_explains_itself(call: Any, command: list[str]) -> None:
    said = call(*command, "--help")
    assert said.code == 0 and "Usage:" in said.out and said.error == ""
    assert "\\b" not in said.out and not any(line.count("  tokenlens ") > 1 for line in said.out.splitlines())


def test_version(call: Any) -> None:
    assert call("--version").out == f"tokenlens, version {tokenlens.__version__}\n"


def test_a_misspelled_command_or_option_offers_the_nearest(call: Any) -> None:
    for words, offer in (
        (["extrat"], "there is no command called 'extrat'; did you mean extract"),
        (["extract", "--methd", "x"], "--method"),
    ):
        said = call(*words)
        assert said.code == 2 and offer in said.error and "Traceback" not in said.error
    assert call("zzzzzz").code == 2


def test_methods_are_listed(call: Any) -> None:
    lines = call("methods").out.splitlines()
    assert {line.split()[0] for line in lines} >= {"topk", "tome", "sit", "atc-average", "l2", "random", "none"}


def test_several_methods_and_rates_in_one_call(call: Any, tmp_path: Path) -> None:
    said = call("extract", "--method", "topk, l2", "--keep-rate", "0.5,0.7/0.5/0.3", "--limit", 2, "--out", tmp_path)
    assert said.code == 0, said.error
    lines = said.out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["topk at 0.5", "topk", "l2 at 0.5", "l2"]
    assert all("GFLOPs" in line and "% saved" in line and "images/s ->" in line and "top1" in line for line in lines)
    assert "tokens left 98 49 24" in lines[0] and "tokens left 137 98 58" in lines[1]
    assert len(open_runs(tmp_path, strict=True)) == 4


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("--keep 98/49/24", [98, 49, 24]),
        ("--keep-rate 0.9 --blocks 5", [176]),
        ("--keep-rate 1", [196, 196, 196]),
        ("--remove 8", [196 - 8 * n for n in range(1, 13)]),
        ("--remove 8 --decreasing", [180, 166, 153, 142, 132, 124, 117, 112, 108, 106, 105, 105]),
    ],
)
def test_ways_to_say_how_many_tokens_remain(call: Any, tmp_path: Path, words: str, left: list[int]) -> None:
    said = call("extract", *words.split(), "--limit", 2, "--out", tmp_path)
    assert said.code == 0, said.error
    (run,) = open_runs(tmp_path, strict=True)
    assert run["tokens_left"].values.tolist() == [left] * 2 == run["kept"].values.sum(2).tolist()


def test_an_option_of_a_method(call: Any, tmp_path: Path) -> None:
    words = ("extract", "--method", "kmedoids", "--limit", 2, "--out", tmp_path)
    assert call(*words).code == call(*words, "--option", "equal_weight=true").code == 0
    options = [run.attrs["options"] for run in open_runs(tmp_path)]
    assert sorted(map(str, options)) == ["{'equal_weight': True}", "{}"]
