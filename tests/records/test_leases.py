"""Leases: one holder each, who lives; those of the dead are taken over."""

import os
from pathlib import Path
from typing import Any

import pytest

from tokenlens.errors import BadInput
from tokenlens.extraction.shard import check_alike
from tokenlens.records import leases
from tokenlens.records.atomic import write
from tokenlens.records.leases import EXPIRY, LEASES, Leaseholder

TOLD = {"job": [2, ""], "settings": {"keep_rates": [0.5], "methods": ("topk",)}}


def test_a_lease_has_one_holder_and_nothing_is_left_in_the_end(tmp_path: Path) -> None:
    with Leaseholder(tmp_path, TOLD) as one, Leaseholder(tmp_path, TOLD) as other:
        assert one.take("run/0") and not one.take("run/0") and not other.take("run/0")
        assert other.take("run/1024") and one.holder("run") == f"process {os.getpid()} on {os.uname().nodename}"
        one.give("run/0")
        assert other.take("run/0") and [*one.others().values()] == [*other.others().values()]
    assert not list(tmp_path.iterdir())


def test_what_ends_gives_back_what_it_held(tmp_path: Path) -> None:
    with Leaseholder(tmp_path, TOLD) as one:
        with Leaseholder(tmp_path, TOLD) as other:
            assert other.take("run/0")
        assert one.take("run/0")


def test_what_was_killed_while_it_appeared_leaves_nothing(tmp_path: Path) -> None:
    with Leaseholder(tmp_path, TOLD) as here:
        (here.folder / f"{os.uname().nodename}.1.00000000.json").touch()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("machine", ["here", "there"])
def test_the_leases_of_the_dead_are_taken_over(machine: str, tmp_path: Path) -> None:
    name = os.uname().nodename if machine == "here" else "a.machine.far.away"
    with Leaseholder(tmp_path, TOLD) as here:
        dead, lease = tmp_path / LEASES / f"{name}.1.00000000.json", tmp_path / LEASES / "run" / "0"
        dead.write_text("{}")
        lease.parent.mkdir()
        lease.write_text(dead.stem)
        if machine == "there":  # of others one knows only how long they have been silent
            assert not here.take("run/0") and len(here.others()) == 1
            os.utime(dead, (0, dead.stat().st_mtime - EXPIRY - 1))
        assert here.take("run/0") and not here.others()
        lease.write_text("")  # its holder died while writing it
        assert not here.take("run/0")
        os.utime(lease, (0, lease.stat().st_mtime - EXPIRY - 1))
        assert here.take("run/0")


@pytest.mark.parametrize("on", ["disk", "store"])
def test_only_one_takes_over_what_several_find(
    on: str, tmp_path: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path if on == "disk" else bucket
    with Leaseholder(out, TOLD) as one, Leaseholder(out, TOLD) as other:
        write(out / LEASES / "run" / "0", "a.dead.one.1.00000000")
        lives = one.lives

        def overtaken(name: str) -> bool:
            """The other finds it too, and takes it, before the one does what follows."""
            found = lives(name)
            monkeypatch.setattr(one, "lives", lives)
            assert not found and other.take("run/0")
            return found

        monkeypatch.setattr(one, "lives", overtaken)
        assert not one.take("run/0") and (out / LEASES / "run" / "0").read_text() == other.name
        write(out / LEASES / "run" / "1", "a.dead.one.1.00000000")
        assert other.take("run/1@00000000") and not one.take("run/1")  # while another is about to take it over
    assert not [*out.rglob("*@*")]


def test_a_lease_that_was_just_given_back_and_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Leaseholder(tmp_path, TOLD) as one, Leaseholder(tmp_path, TOLD) as other:
        assert other.take("run/0")
        read = Path.read_text

        def given_back(path: Path, *given: Any, **more: Any) -> str:
            if path.name != "0":
                return read(path, *given, **more)
            monkeypatch.setattr(Path, "read_text", read)
            raise FileNotFoundError(path)

        monkeypatch.setattr(Path, "read_text", given_back)
        assert not one.take("run/0") and (tmp_path / LEASES / "run" / "0").read_text() == other.name


def test_one_appears_while_the_last_of_the_others_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = leases.create

    def left(path: Path, content: str) -> None:
        monkeypatch.setattr(leases, "create", make)
        path.parent.rmdir()
        make(path, content)

    monkeypatch.setattr(leases, "create", left)
    with Leaseholder(tmp_path, TOLD) as here:
        assert here.take("run/0")


def test_parts_of_one_job_agree(tmp_path: Path) -> None:
    with Leaseholder(tmp_path, TOLD):
        sentence = r"process .* its keep_rates is \[0\.5\] where here it is \[0\.25\]; give all parts the same options"
        differing = {"keep_rates": [0.25]}
        cases = (
            ({**TOLD, "settings": differing}, sentence),
            (TOLD, None),
            ({"job": [4, ""], "settings": differing}, None),
        )
        for told, refused in cases:
            with Leaseholder(tmp_path, told) as other:
                if refused is None:
                    check_alike(other)
                else:
                    with pytest.raises(BadInput, match=refused):
                        check_alike(other)
