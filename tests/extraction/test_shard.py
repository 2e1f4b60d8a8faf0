"""Several processes make the same runs: each chunk is made once, by whoever is there to make it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tokenlens.data.embedded.open import EmbeddedSet
from tokenlens.errors import BadInput
from tokenlens.extraction.shard import Shard
from tokenlens.records.leases import LEASES, Leaseholder
from tokenlens.records.store import open_runs

SETTINGS: dict[str, Any] = {"methods": ["topk"], "limit": 18, "batch_size": 2}  # nine chunks where there are two shards


@pytest.mark.parametrize("text", ["5/4", "0/4", "4", "a/b", "1/0", "-1/4", "1/4/2", ""])
def test_what_is_no_part_of_a_whole_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"which is no part of a whole; give NUMBER/OF, such as 1/\d to \d/\d"):
        Shard.parse(text, {})


def test_which_of_several_a_process_is() -> None:
    assert Shard.parse("3/64", {"RANK": "7", "WORLD_SIZE": "8"}) == Shard(3, 64)
    launched = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_PORT": "29500"}
    assert Shard.parse(None, launched) == Shard(2, 2, "MASTER_PORT=29500", 1)
    with pytest.raises(BadInput, match="RANK and WORLD_SIZE say 3/2, which is no part of a whole"):
        Shard.parse(None, {"RANK": "2", "WORLD_SIZE": "2"})
    assert Shard.parse(None, {}) == Shard() and Shard().shows and not Shard.parse(None, launched).shows


@pytest.mark.parametrize(("chunks", "of"), [(9, 2), (1, 3), (8, 8), (0, 2)])
def test_each_begins_with_its_share_and_looks_at_all(chunks: int, of: int) -> None:
    turns = [list(Shard(number, of).turns(chunks)) for number in range(1, of + 1)]
    assert all(sorted(one) == list(range(chunks)) for one in turns)
    own = [
        chunk
        for number, one in enumerate(turns)
        for chunk in one[: (number + 1) * chunks // of - number * chunks // of]
    ]
    assert own == list(range(chunks))


def test_chunks_let_equal_processes_end_together() -> None:
    assert Shard().chunk(2000, 1024, 32) == Shard(1, 64).chunk(10**6, 1024, 32) == 1024
    assert Shard(1, 2).chunk(2000, 1024, 32) == 256  # 8 chunks, 4 each; 9 of 224 would leave one process idle
    assert Shard(1, 2).chunk(18, 1024, 2) == Shard(1, 8).chunk(3, 1024, 2) == 2


def test_what_another_has_is_left_to_it_and_the_last_one_finishes(
    run_job: Any, same_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_job(tmp_path / "whole", **SETTINGS, shard="1/2")[0]
    drawn, image = list[int](), EmbeddedSet.image
    monkeypatch.setattr(EmbeddedSet, "image", lambda self, index: (drawn.append(index), image(self, index))[1])
    out, said = tmp_path / "out", list[str]()
    with Leaseholder(out, {"job": [2, "other"], "settings": {}}) as other:
        assert other.take(f"{whole.name}/4") and other.take(f"{whole.name}/0")
        assert run_job(out, **SETTINGS, shard="1/2", tell=said.append) == []
        (run,) = open_runs(out)
        assert run.attrs["written"] == 0 and run.attrs["ahead"] == [2, *range(6, 18, 2)]
        assert said == [f"topk at 0.5: 14 of 18 images are there, others have the rest -> {out / whole.name}"]
    assert sorted(drawn) == [2, 3, *range(6, 18)]
    assert run_job(out, **SETTINGS, shard="2/2") == [out / whole.name]
    assert sorted(drawn) == list(range(18))  # none of them twice
    same_run(whole, out / whole.name)
    assert not (out / LEASES).exists()


def test_other_settings_are_refused_before_anything_is_written(run_job: Any, tmp_path: Path) -> None:
    told = {"job": [2, Shard.parse("1/2").job], "settings": {"methods": ["topk"], "keep_rates": [0.5], "blocks": [3]}}
    with Leaseholder(tmp_path, told):
        with pytest.raises(
            BadInput, match=r"its blocks is \[3\] where here it is \[3, 6, 9\]; give all parts the same"
        ):
            run_job(tmp_path, **SETTINGS, keep_rates=[0.5], shard="2/2")
        assert [path.name for path in tmp_path.iterdir()] == [LEASES]
    older = {"job": [2, Shard.parse("1/2").job], "settings": {"versions": {"torch": "2.0.0"}}}
    with Leaseholder(tmp_path, older), pytest.raises(BadInput, match=r"its versions is \{'torch': '2.0.0'\} where"):
        run_job(tmp_path, **SETTINGS, shard="2/2")


def test_what_was_only_planned_binds_nobody_once_its_planner_is_dead(run_job: Any, tmp_path: Path) -> None:
    (folder,) = run_job(tmp_path / "whole", **SETTINGS)
    for by, size in (("gone.1.00000000", 2), (None, 6)):
        with Leaseholder(tmp_path / "out", {"job": [1, "other"], "settings": {}}) as other:
            plan = tmp_path / "out" / LEASES / folder.name / "plan"
            plan.parent.mkdir()
            plan.write_text(json.dumps({"batch_size": 6, "chunk": 1024, "by": by or other.name}))
            run_job(tmp_path / "out", **SETTINGS)
        (run,) = open_runs(tmp_path / "out")
        assert run.attrs["batch_size"] == size
        shutil.rmtree(tmp_path / "out")
