"""Kill commands anywhere, damage what they wrote, let two of them meet: nothing is lost, no wrong number is silent.

Each test draws from the seed that the head of the output shows; the same seed draws the same again.
"""

import hashlib
import os
import random
import shutil
import signal
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tokenlens.analysis.compare import compare
from tokenlens.errors import BadInput
from tokenlens.records import tables as table
from tokenlens.records.layout import Layout
from tokenlens.records.manifest import notices
from tokenlens.records.patterns import Patterns
from tokenlens.records.store import open_runs
from tokenlens.signals import STOPPED, TERMINATED
from tokenlens.synthesis.drawn import about_of
from tokenlens.synthesis.judged import Quality

pytestmark = pytest.mark.chaos
EXTRACT = ("extract", "--method", "topk,tome", "--limit", 12, "--batch-size", 4, "--features", "--out", "runs")
COMPARE = ("compare", "runs", "--out", "results", "--findings", "--resamples", 10)
COMMANDS: dict[str, tuple[object, ...]] = {
    "extract": EXTRACT,
    "compare": COMPARE,
    "figures": ("figures", "accuracy", "tokens_left", "--format", "svg", "--tables"),
    "report": ("report", "--images", 2),
    "report split": ("report", "--images", 2, "--split"),
    "finetune": (
        *("finetune", "--recipe", "shapes", "--method", "topk", "--epochs", 2, "--batch-size", 8, "--workers", 0),
        *("--set", "data.limit=16", "--set", "data.epoch=16", "--set", "data.val_limit=8"),
        *("--set", "train.save_steps=1", "--device", "cpu", "--out", "tuned"),
    ),
    "synthesize": ("synthesize", "--method", "tome-sd,atc-average", "--limit", 3, "--steps", 2, "--device", "cpu"),
    "detect": ("detect", "--method", "topk,atc-average", "--limit", 4, "--device", "cpu"),
}
ASKED = pytest.mark.skipif("TOKENLENS_CHAOS_TRIALS" not in os.environ, reason="takes long; say how many kills")
MADE_OF_RUNS = ("compare", "figures", "report", "report split")
STUDY = """
name: little
axes: {data: ["embedded:shapes"], models: [nano], methods: [none, topk], keep_rates: [0.5]}
finetune:
  recipe: shapes
  set: {schedule.epochs: 1, data.limit: 16, data.epoch: 16, data.val_limit: 8, data.workers: 0, train.batch_size: 8}
extract: {limit: 8}
compare: {resamples: 5}
"""
TIMED = ("log.csv", "tensorboard", "tasks", "timings.csv", "about.json")
VARY = (*TIMED, "state.pt")  # hold times; the last the same values in other bytes
Spawn = Callable[..., tuple[int, str, int]]
KINDS = ("bit", "cut", "empty", "zeros", "longer", "gone")


def files(folder: Path) -> dict[str, str]:
    """A digest of each file that a person sees below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") or part in VARY for part in path.relative_to(folder).parts)
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
    if name in MADE_OF_RUNS:
        shutil.copytree(made / "runs", place / "runs")
        shutil.copytree(made / "results", place / "results")
    return place


@pytest.mark.parametrize("name", [pytest.param(name, marks=ASKED if name == "report" else ()) for name in COMMANDS])
def test_killed_at_any_write(
    name: str, made: Path, spawn: Spawn, rng: random.Random, trials: int, tmp_path: Path
) -> None:
    words = COMMANDS[name]
    began = time.monotonic()
    code, said, writes = spawn(*words, cwd=start(name, made, tmp_path / "whole"))
    took = time.monotonic() - began
    assert code == 0 and writes and "changed since" not in said, said
    wanted, before = files(tmp_path / "whole"), table.read(made / "results", "runs")
    at = sorted(rng.sample(range(1, writes + 1), min(trials, writes)))
    after = [rng.uniform(0.1, 0.9) * took for _ in range(trials - len(at))]  # where there are fewer writes than kills
    print(f"{name}: killed at {at} of {writes} writes, and {len(after)} times between")
    for number, moment in enumerate([*({"at": write} for write in at), *({"after": seconds} for seconds in after)]):
        place = start(name, made, tmp_path / f"{number}")
        code, said, came = spawn(*words, cwd=place, **moment)
        # one write more or less is a sign of life, which is given by the clock
        assert code == -signal.SIGKILL or (code == 0 and ("after" in moment or came < moment["at"])), said
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
        if name == "synthesize":  # what holds times: whole, and of these pictures
            drawn = [path.parent for path in place.glob("images/*/about.json")]
            assert [about_of(folder)["pictures"] for folder in drawn] == [3, 3]


def test_a_training_that_was_asked_to_end_has_saved(spawn: Spawn, rng: random.Random, tmp_path: Path) -> None:
    words, number = COMMANDS["finetune"], rng.choice([signal.SIGTERM, signal.SIGUSR1])
    code, said, writes = spawn(*words, cwd=start("finetune", tmp_path, tmp_path / "whole"))
    assert code == 0, said
    place = start("finetune", tmp_path, tmp_path / "asked")
    code, said, _ = spawn(*words, cwd=place, at=rng.randint(writes // 4, writes // 2), number=number)
    assert code == TERMINATED and said.strip().endswith(STOPPED), said
    assert (place / "tuned" / "state.pt").is_file()
    code, said, _ = spawn(*words, cwd=place)
    assert code == 0 and files(place) == files(tmp_path / "whole"), said


@ASKED
def test_a_study_goes_on_after_any_signal(spawn: Spawn, rng: random.Random, trials: int, tmp_path: Path) -> None:
    (tmp_path / "little.yaml").write_text(STUDY)
    words = ("study", tmp_path / "little.yaml", "--only", "extract", "--jobs", 2, "--out", "study")
    (tmp_path / "whole").mkdir()
    began = time.monotonic()
    code, said, _ = spawn(*words, cwd=tmp_path / "whole")
    took = time.monotonic() - began
    assert code == 0, said
    wanted, codes = files(tmp_path / "whole"), []
    for trial, number in enumerate([signal.SIGKILL] * trials + [signal.SIGTERM, signal.SIGUSR1]):
        (place := tmp_path / f"{trial}").mkdir()
        code, said, _ = spawn(*words, cwd=place, after=rng.uniform(0.1, 0.9) * took, number=number)
        codes.append(code)  # before the study has begun, or after its end, a signal does what it does to any process
        assert code in (-number, 0) or (number != signal.SIGKILL and code == TERMINATED), said
        assert "Traceback" not in said
        code, said, _ = spawn(*words, cwd=place)
        assert code == 0 and files(place) == wanted and left_over(place) == [], said
    print(f"study: ended with {codes} within {took:.0f} s, and gone on")


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


@pytest.fixture(scope="session")
def others(spawn: Spawn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a detector in `runs`; in `images` pictures of two methods, and the runs of these."""
    place = tmp_path_factory.mktemp("others")
    for words in (COMMANDS["detect"], (*COMMANDS["synthesize"], "--limit", 5)):  # of which one less can be judged
        code, said, _ = spawn(*words, cwd=place)
        assert code == 0, said
    return place


def opened(runs: Path) -> tuple[list[Patterns], list[str]]:
    """All that lies on disk of the runs that can be read, and what was told."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = [Patterns.of(run.load()) for run in open_runs(runs, check=None)]
    return found, [str(one.message) for one in caught if one.category is UserWarning]


@pytest.mark.parametrize("where", ["runs", "images/runs"])
def test_no_damage_to_a_run_of_a_detector_or_denoiser_is_silent(
    where: str, others: Path, rng: random.Random, trials: int, tmp_path: Path
) -> None:
    wanted, _ = opened(others / where)
    run = rng.choice(sorted(path for path in (others / where).iterdir() if not path.name.startswith(".")))
    every = sorted(path.relative_to(others / where) for path in run.rglob("*") if path.is_file())
    told = same = 0
    for number in range(10 * trials):
        path, kind, place = rng.choice(every), rng.choice(KINDS), tmp_path / f"{number}"
        shutil.copytree(others / where, place)
        damage(place / path, kind, rng)
        found, said = opened(place)
        if len(found) < len(wanted):
            assert any(run.name in one for one in said), (path, kind)
            told += 1
        else:
            assert all(a.identical(b) for a, b in zip(found, wanted, strict=True)), (path, kind)
            same += 1
        shutil.rmtree(place)
    print(f"damages to a run in {where}: {told} told, {same} without effect, 0 silent")


def test_no_damage_to_drawn_pictures_is_silent(others: Path, rng: random.Random, trials: int, tmp_path: Path) -> None:
    """Without a picture as many fewer are judged, and the line and the table say of how many they are."""

    def judged(folder: Path) -> dict[str, Any]:
        list(Quality("embedded:shapes", [str(folder)], limit=5, device="cpu", out=tmp_path / "results").run())
        (row,) = table.read(tmp_path / "results", "quality").to_dict("records")
        return row

    (drawn,) = (others / "images").glob("*tome-sd*")
    every, wanted = sorted(path.name for path in drawn.iterdir()), judged(drawn)
    told = fewer = same = 0
    for number in range(10 * trials):
        file, kind, place = rng.choice(every), rng.choice(KINDS), tmp_path / f"{number}" / drawn.name
        shutil.copytree(drawn, place)
        damage(place / file, kind, rng)
        try:
            found = judged(place)
            if file.endswith(".png") and kind == "gone":
                assert found["n_drawn"] == wanted["n_drawn"] - 1
                fewer += 1
            else:
                assert found == wanted, (file, kind)
                same += 1
        except BadInput as error:
            assert str(place) in str(error), (file, kind)
            told += 1
        shutil.rmtree(place.parent)
    print(f"damages to pictures: {told} told, {fewer} judged as one less, {same} without effect, 0 silent")


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


@pytest.mark.parametrize("name", ["figures", "report"])
def test_what_is_shown_says_that_runs_have_changed_since(name: str, made: Path, spawn: Spawn, tmp_path: Path) -> None:
    place = start(name, made, tmp_path / "here")
    (changed,) = (place / "runs").glob("*tome*")
    layout = Layout.read(changed)
    replace(layout, attributes={**layout.attributes, "metrics": {"top1": 0.0}}).write()
    code, said, _ = spawn(*COMMANDS[name], cwd=place)
    assert code == 0 and "1 of the 2 runs that the tables in results were made of have changed since" in said, said
    assert changed.name in said


def test_two_of_one_run_at_a_time(made: Path, spawn: Spawn, trials: int, tmp_path: Path) -> None:
    wanted = {name: digest for name, digest in files(made / "runs").items() if "l2" not in name}
    for number in range(trials):
        place = tmp_path / f"{number}"
        place.mkdir()
        with ThreadPoolExecutor(2) as pool:
            ended = list(pool.map(lambda _, here=place: spawn(*EXTRACT, cwd=here), range(2)))
        assert [code for code, *_ in ended] == [0, 0], ended
        assert files(place / "runs") == wanted and left_over(place) == []


def test_either_of_two_shards_is_killed(spawn: Spawn, rng: random.Random, trials: int, tmp_path: Path) -> None:
    """The other goes on, and whoever comes next completes what is left, to the same files."""

    def both(place: Path, **killed: int) -> list[tuple[int, str, int]]:
        place.mkdir()
        with ThreadPoolExecutor(2) as pool:
            moments = ({}, killed) if killed.pop("second", False) else (killed, {})
            started = [
                pool.submit(spawn, *EXTRACT, "--shard", f"{number}/2", cwd=place, **moment)
                for number, moment in enumerate(moments, 1)
            ]
        return [one.result() for one in started]

    ended = both(tmp_path / "whole")
    assert [code for code, *_ in ended] == [0, 0], ended
    wanted, kills = files(tmp_path / "whole"), 0
    for number in range(trials):
        place, second = tmp_path / f"{number}", rng.random() < 0.5
        at = rng.randint(1, ended[second][2])
        codes = [code for code, *_ in both(place, at=at, second=second)]
        assert codes[not second] == 0 and codes[second] in (-signal.SIGKILL, 0)  # 0: the other was there before it
        kills += codes[second] != 0
        if (place / "runs").is_dir():
            open_runs(place / "runs", strict=True, check=None)
        code, said, _ = spawn(*EXTRACT, "--shard", "1/2", cwd=place)
        assert code == 0 and "Traceback" not in said, said
        assert files(place) == wanted and left_over(place) == []
    print(f"two shards: {kills} killed of {trials}, and gone on")
