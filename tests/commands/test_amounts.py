"""Numbers that nobody can mean are refused at once, with what they would take and what is the most."""

import re
from pathlib import Path

import pytest

from tokenlens import errors
from tokenlens.errors import BadInput, check_memory

from .conftest import Call

HUGE = 10**23
TAKES = r" take [\d,.]+ GB of memory or more, and there are [\d,.]+ GB; "


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("compare --resamples 1000000000", rf"1000000000 resamples of 4 images{TAKES}give fewer --resamples"),
        (f"compare --resamples {HUGE}", rf"{HUGE} resamples of 4 images{TAKES}"),
        ("compare --workers 100000", r"100000 threads are too many, 1024 are the most"),
        ("compare --chunk 0", r"'--chunk': 0 is not in the range"),
        ("compare --chunk -1", r"'--chunk': -1 is not in the range"),
        ("extract --workers 100000", rf"100000 processes that read images{TAKES}give fewer --workers"),
        ("extract --limit -1", r"'--limit': -1 is not in the range"),
        ("extract --batch-size -5", r"'--batch-size': -5 is not in the range"),
        (
            "demo --images 1000000000",
            r"there are 10000 held-out images and not 1000000000; give --images 10000",
        ),
        ("bench --batch-size 1000000000", rf"batches of 1000000000 images{TAKES}give a smaller --batch-size"),
        (f"bench --batch-size {HUGE}", rf"batches of {HUGE} images{TAKES}"),
        (f"bench --threads {HUGE}", r"'--threads': \d+ is not in the range 1<=x<=1024"),
        ("bench --repeats 1000000000000", r"'--repeats': \d+ is not in the range 1<=x<=100000"),
        ("bench --warmup 1000000000000", r"'--warmup': \d+ is not in the range 1<=x<=100000"),
        ("study embedded --jobs 1000000", rf"1000000 processes at a time{TAKES}give fewer --jobs"),
        (f"study embedded --dry-run --jobs {HUGE}", rf"{HUGE} processes at a time{TAKES}"),
        ("finetune --epochs 1000000000000", r"schedule.epochs is 1000000000000; give at least 1 and at most 1000000"),
        ("finetune --batch-size 1000000000", r"2000 images make no step of 1000000000 .*; give a smaller --batch-size"),
        (f"finetune --batch-size {HUGE}", rf"2000 images make no step of {HUGE} "),
        ("finetune --accumulate 1000000000", r"2000 images make no step of 64000000000 "),
        ("finetune --workers 100000", rf"100000 processes that read images{TAKES}give fewer --workers"),
        ("export --opset 99999 --out x.onnx", r"knows opsets up to \d+, not 99999; give one with --opset"),
    ],
)
def test_absurd_counts(call: Call, here: Path, words: str, sentence: str) -> None:
    out = [] if "--out" in words else ["--out", "new"]
    assert re.search(sentence, call(*words.split(), *out).sentence)
    assert not (here / "new").exists()


def test_memory_is_the_machines_or_the_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 10**8 < errors.memory() < 10**15
    monkeypatch.setattr(errors, "memory", lambda: 10**9)
    check_memory("two things", 10**9, "give one")
    with pytest.raises(BadInput, match=r"two things take 1.5 GB of memory or more, and there are 1.0 GB; give one"):
        check_memory("two things", 15 * 10**8, "give one")
