"""What users hand to commands by mistake: empty, torn, of another kind. One sentence, exit code 2, nothing made."""

import os
import shutil
from pathlib import Path

import pytest

from tokenlens.records.layout import Layout
from tokenlens.records.schema import malformed

from .conftest import Call

AXES = "axes: {data: [embedded:shapes], models: [nano], methods: [topk], keep_rates: [0.5]%s}\n"
FILES = {
    **{f"{word}.csv": f"run,accuracy\nx,{word}\n" for word in ("nan", "inf", "-inf", "1e400", "abc")},
    "semicolons.csv": "run;accuracy\nx;1\n", "quote.csv": 'run,accuracy\n"x,1\n', "wide.csv": "run,accuracy\nx,1,2,3\n",
    "axes.yaml": "axes: 3\n", "word.yaml": AXES.replace("0.5", "x") % "", "nan.yaml": AXES.replace("0.5", ".nan") % "",
    "infinite.yaml": AXES.replace("0.5", ".inf") % "", "seed.yaml": AXES % ", seeds: [-1]",
    "huge-seed.yaml": AXES % ", seeds: [1.0e+30]", "limit.yaml": "extract: {limit: -3}\n" + AXES % "",
    "huge.yaml": "extract: {limit: 99999999999999999999999999}\n" + AXES % "", "list.yaml": "- 1\n- 2\n",
    "compare.yaml": "compare: [1]\n" + AXES % "", "recipe.yaml": "finetune: {recipe: 3}\n" + AXES % "",
    "open.yaml": "[[[[[", "deep.yaml": "[" * 20000, "code.yaml": '!!python/object/apply:os.system ["echo"]\n',
    "loop.yaml": "a: &a [*a]\n",
    **{f"r{number}.yaml": text for number, text in enumerate((
        "extends: [1]", "extends: r1.yaml", "optimizer: {lr: .nan}", "optimizer: {lr: [1]}", "data: {name: 3}",
        "reduction: {blocks: [1.5]}", "reduction: {keep_rate: {a: 1}}", "reduction: {options: [1]}", "schedule: null",
        "train: {seed: 1.5}", "optimizer: {name: 7}", "model: {drop_path: .inf}",
    ))},
}  # fmt: skip
ODD = (
    "empty",
    "noise",
    "folder",
    "pipe-less",
)  # with every ending: nothing in it, bytes of no kind, a folder, not there
KINDS = {
    "csv": "compare runs --accuracy", "yaml": "study --dry-run", "pth": "extract --weights",
    "safetensors": "finetune --weights", "onnx": "bench --weights",
}  # fmt: skip
WORDS = [
    *(f"{command} {name}.{ending}" for ending, command in KINDS.items() for name in ODD),
    *(f"finetune --show --recipe {name}.yaml" for name in ODD),
    *(f"compare runs --accuracy={name}" for name in FILES if name.endswith(".csv")),
    *(f"study --dry-run {name}" for name in FILES if name.endswith(".yaml") and name[:2] not in ("r0", "r1")),
    *(f"finetune --show --recipe {name}" for name in FILES if name[0] == "r" and name[1].isdigit()),
    *(f"{command} {place}" for command in ("compare", "report --results none")
      for place in ("empty.csv", "folder.csv", "nowhere", "pipe", "strangers", "torn")),
    *(f"figures accuracy --results {place}" for place in ("empty.csv", "folder.csv", "nowhere", "pipe", "rotten")),
    *(f"extract --data {data}" for data in (
        "folder:folder.csv", "folder:empty.csv", "folder:nowhere", "folder:", "folder:pictures", "coco:folder.csv",
        "imagenet:folder.csv", "nabirds:folder.csv", "nuswide:folder.csv", "wds:noise.pth", "wds:nowhere.tar", "wds:",
        "hf:", "embedded:", "embedded:birds@bias=nan", "embedded:birds@bias=inf", "embedded:birds@bias=",
        "embedded:birds@=1", "nosuch:x")),
    *(f"extract {words}" for words in (
        "--keep-rate 1e400", "--keep-rate x", "--keep 0", "--keep a/b", "--blocks x", "--blocks -1", "--option =1",
        "--method nosuch", "--model nosuch")),
    "export --weights noise.pth", "export --method kmedoids", "bench --batch-size x", "bench --batch-size 1,0",
    "bench --precision int8", "figures nosuch", "figures accuracy --format exe", "figures accuracy --preset nosuch",
    "compare runs --where x", "compare runs --where =,=", "compare runs --metric nosuch", "compare runs --axis nosuch",
    *(f"{command} pipe{ending}" for ending, command in (
        (".yaml", "finetune --show --recipe"), (".csv", "compare runs --accuracy"), (".txt", "synthesize --prompts"))),
    "synthesize --pipeline nano:pipe.yaml", "synthesize --pipeline folder.csv", "synthesize --prompts empty.csv",
    "synthesize --prompts noise.csv", "synthesize --ratio 1", "synthesize --ratio x", "synthesize --method nosuch",
    "synthesize --record-steps x", "detect --weights noise.pth", "detect --weights hf:a/b",
    "detect --data coco:nowhere", "detect --data folder:pictures", "detect --method nosuch", "detect --keep-rate x",
    "fid embedded:shapes nowhere", "demo --device tpu", "demo --images 7", "study nosuch", "nosuch",
]  # fmt: skip


@pytest.fixture
def junk(here: Path) -> Path:
    """A working directory full of what no command can use."""
    for name, text in FILES.items():
        (here / name).write_text(text)
    for ending in KINDS:
        (here / f"empty.{ending}").touch()
        (here / f"noise.{ending}").write_bytes(bytes((37 * i * i + 201 * i) % 256 for i in range(300)))
        (here / f"folder.{ending}").mkdir()
    for name in ("pipe", "pipe.yaml", "pipe.csv", "pipe.txt"):
        os.mkfifo(here / name)
    (here / "pictures" / "a").mkdir(parents=True)
    shutil.copy("noise.pth", here / "pictures" / "a" / "x.png")
    (here / "rotten").mkdir()
    shutil.copy("noise.pth", here / "rotten" / "runs.parquet")
    (here / "strangers" / "a").mkdir(parents=True)
    (here / "torn" / "a").mkdir(parents=True)
    (here / "torn" / "a" / "zarr.json").write_text("[]")
    return here


@pytest.mark.parametrize("words", WORDS)
def test_one_sentence_and_nothing_made(call: Call, junk: Path, words: str) -> None:
    writes = words.split()[0] in (
        "compare",
        "report",
        "figures",
        "extract",
        "study",
        "finetune",
        "export",
        "bench",
        "demo",
        "synthesize",
        "detect",
        "fid",
    )
    before = set(junk.rglob("*"))
    assert len(call(*words.split(), *(["--out", "new"] if writes else [])).sentence) > 20
    assert set(junk.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("blocks", "abc"), ("blocks", [1.5]), ("grid", [None]), ("keep_rate", "0.5"), ("keep_rate", True),
        ("keep_rates", 0.5), ("seed", "x"), ("options", [1]), ("metrics", {"top1": "x"}), ("method", 3), ("run", ["a"]),
    ],
)  # fmt: skip
def test_a_run_says_things_of_the_right_kind(call: Call, here: Path, name: str, value: object) -> None:
    shutil.copytree(next((here / "runs").glob("*topk*")), here / "odd" / "a")
    layout = Layout.read(here / "odd" / "a")
    assert malformed(layout.attributes) is None
    layout.attributes[name] = value
    layout.write()
    for words in (["compare", "odd"], ["figures", "depth", "--results", "none", "--runs", "odd"]):
        ended = call(*words, "--out", "new")
        assert f"odd/a cannot be read as a run (its {name} is {value!r})" in ended.err and ended.sentence
