"""Kill commands anywhere, damage what they wrote, let two of them meet: nothing is lost, no wrong number is silent.

Each test draws from the seed that the head of the output shows; the same seed draws the same again.
"""

import hashlib
import random
import shutil
import signal
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tokenlens.analysis.compare import compare
from tokenlens.errors import BadInput
from tokenlens.records import tables as table
from tokenlens.records.manifest import notices
from tokenlens.records.store import open_runs

pytestmark = pytest.mark.chaos
EXTRACT = ("extract", "--method", "topk,tome", "--limit", 12, "--batch-size", 4, "--features", "--out", "runs")
COMPARE = ("compare", "runs", "--out", "results", "--findings", "--resamples", 10)
COMMANDS: dict[str, tuple[object, ...]] = {
    "extract": EXTRACT,
    "compare": COMPARE,
    "figures": ("figures", "accuracy", "tokens_left", "--format", "svg", "--tables"),
    "report": ("report", "--images", 2),
    "report split": ("report", "--images", 2, "--split"),
}
Spawn = Callable[..., tuple[int, str, int]]
KINDS = ("bit", "cut", "empty", "zeros", "longer", "gone")


def files(folder: Path) -> dict[str, str]:
    """A digest of each file that a person sees below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def left_over(folder: Path) -> list[str]:
    """What nobody will use: of writers that are dead."""
    return [path.name for path in folder.rglob(".*") if path.name.endswith((".partial", ".next"))]


@pytest.fixture(scope="session")
def made(spawn: Spawn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, and the tables of two of them."""
    place = tmp_path_factory.mktemp("made")
    for words in (EXTRACT, COMPARE, (*EXTRACT[:2], "l2", *EXTRACT[3:])):
        code, said, _ = spawn(*words, cwd=place)
        assert code == 0, said
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compare(open_runs(place / "runs"), resamples=2)  # compiles what the forked would each compile
    return place


def start(name: str, made: Path, place: Path) -> Path:
    """What is there before a command."""
    place.mkdir()
    if name != "extract":
        shutil.copytree(made / "runs", place / "runs")
        shutil.copytree(made / "results", place / "results")
    return place


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_write(
    name: str, made: Path, spawn: Spawn, rng: random.Random, trials: int, tmp_path: Path
) -> None:
    words = COMMANDS[name]
    code, said, writes = spawn(*words, cwd=start(name, made, tmp_path / "whole"))
    assert code == 0 and writes > trials, said
    wanted, before = files(tmp_path / "whole"), table.read(made / "results", "runs")
    at = sorted(rng.sample(range(1, writes + 1), min(trials, writes)))
    print(f"{name}: killed at {at} of {writes} writes")
    for kill_at in at:
        place = start(name, made, tmp_path / f"{kill_at}")
        code, said, _ = spawn(*words, cwd=place, kill_at=kill_at)
        assert code == -signal.SIGKILL, said
        if name == "extract" and (place / "runs").is_dir():
            open_runs(place / "runs", strict=True, check=None)
        if name == "compare":  # the tables before, or those after
            found = {len(table.read(place / "results", kind)) for kind in ("runs",)}
            assert found <= {len(before), len(before) + 1}
            assert notices(place / "results", None) == []
        code, said, _ = spawn(*words, cwd=place)
        assert code == 0 and "Traceback" not in said, said
        assert files(place) == wanted
        assert left_over(place) == []


def damage(path: Path, kind: str, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if kind == "bit":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del content[rng.randrange(len(content)) :]
    elif kind == "empty":
        content.clear()
    elif kind == "zeros":
        content[:] = bytes(len(content))
    elif kind == "longer":
        content += b"more"
    path.unlink() if kind == "gone" else path.write_bytes(content)


def numbers(runs: Path) -> tuple[dict[str, str], int, list[str]]:
    """All numbers of a comparison as text, of how many runs, and what was told."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        opened = open_runs(runs, check=None)
        found = compare(opened, resamples=2)
    told = [str(one.message) for one in caught if one.category is UserWarning]
    return {name: frame.to_csv(index=False) for name, frame in found._asdict().items()}, len(opened), told


def test_no_damage_to_a_run_is_silent(made: Path, rng: random.Random, trials: int, tmp_path: Path) -> None:
    wanted, count, _ = numbers(made / "runs")
    (run,) = (made / "runs").glob("*tome*")
    every = sorted(path for path in run.rglob("*") if path.is_file())
    told = same = 0
    for number in range(10 * trials):
        path, kind = rng.choice(every).relative_to(made / "runs"), rng.choice(KINDS)
        place = tmp_path / f"{number}"
        shutil.copytree(made / "runs", place)
        damage(place / path, kind, rng)
        found, opened, said = numbers(place)
        if opened < count:
            assert any(run.name in one for one in said), (path, kind)
            told += 1
        else:  # only what nobody reads may be changed unnoticed
            assert found == wanted, (path, kind)
            same += 1
        shutil.rmtree(place)
    print(f"damages to a run: {told} told, {same} without effect, 0 silent")


def test_no_damage_to_a_table_is_silent(made: Path, rng: random.Random, trials: int, tmp_path: Path) -> None:
    every = sorted(path.name for path in (made / "results").iterdir() if not path.name.startswith("."))
    names = [name.removesuffix(".parquet") for name in every if name.endswith(".parquet")]
    wanted = {name: table.read(made / "results", name).to_csv() for name in names}
    told = same = 0
    for number in range(10 * trials):
        file, kind, place = rng.choice(every), rng.choice(KINDS[:-1]), tmp_path / f"{number}"
        shutil.copytree(made / "results", place)
        damage(place / file, kind, rng)
        try:
            assert {name: table.read(place, name).to_csv() for name in names} == wanted, (file, kind)
            same += 1
        except BadInput as error:
            assert str(place) in str(error)
            told += 1
    print(f"damages to a table: {told} told, {same} without effect, 0 silent")


@pytest.mark.parametrize("name", ["compare", "figures", "report"])
def test_a_command_goes_on_without_a_damaged_run(name: str, made: Path, spawn: Spawn, tmp_path: Path) -> None:
    place = start(name, made, tmp_path / "here")
    (chunk,) = (place / "runs").glob("*tome*/group/c/0/0/0")
    damage(chunk, "bit", random.Random(0))
    code, said, _ = spawn(*COMMANDS[name], cwd=place)
    assert code == 0 and "Traceback" not in said, said
    assert "group/c/0/0/0 is damaged" in said and "tome" in said


def test_two_of_one_run_at_a_time(made: Path, spawn: Spawn, trials: int, tmp_path: Path) -> None:
    wanted = {name: digest for name, digest in files(made / "runs").items() if "l2" not in name}
    for number in range(trials):
        place = tmp_path / f"{number}"
        place.mkdir()
        with ThreadPoolExecutor(2) as pool:
            ended = list(pool.map(lambda _, here=place: spawn(*EXTRACT, cwd=here), range(2)))
        assert [code for code, *_ in ended] == [0, 0], ended
        assert files(place / "runs") == wanted and left_over(place) == []
