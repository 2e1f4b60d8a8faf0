"""`tokenlens synthesize`: pictures, patterns, timings; stopped anywhere, it goes on; refusals are one sentence."""

import inspect
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from tokenlens.benchmark.pipeline import PipelineBench
from tokenlens.cli import tokenlens
from tokenlens.errors import BadInput
from tokenlens.records import tables
from tokenlens.records.drawn import RUNS
from tokenlens.records.store import open_run, open_runs
from tokenlens.synthesis import task
from tokenlens.synthesis.drawn import ABOUT, TIMINGS
from tokenlens.synthesis.jobs import Synthesis
from tokenlens.synthesis.pipelines import open_pipeline
from tokenlens.synthesis.prompts import as_prompts, prompts_of

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
QUICK: dict[str, Any] = {"steps": 2, "limit": 3, "device": "cpu", "progress": False}


def contents(folder: Path) -> dict[str, bytes]:
    """The pictures and patterns below a folder, without what depends on the clock."""
    found = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {
        str(name): data
        for name, data in found.items()
        if name.name not in (TIMINGS, ABOUT) and ".locks" not in name.parts
    }


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """In the place of the nano pipeline a smaller one, which was never trained: 64 tokens, pictures of 32 x 32."""
    from tokenlens.synthesis import nano, pipelines

    torch.manual_seed(0)
    sizes = {"sample_size": 8, "block_out_channels": (16, 16), "attention_head_dim": 2, "cross_attention_dim": 16}
    unet = diffusers.UNet2DConditionModel(**{**nano.UNET, **sizes}).eval()

    def opened(weights: Path) -> Any:
        if weights.name == "nowhere":
            raise FileNotFoundError(weights)
        return nano.NanoPipeline(unet, diffusers.DDIMScheduler(**nano.SCHEDULER))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "nano_pipeline", opened)
        patch.setattr(pipelines, "nano_path", Path)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("images")
    list(Synthesis(methods=("atc-average", "none"), out=out, **QUICK).run())
    return out


def test_pictures_patterns_and_timings(made: Path) -> None:
    atc, none = sorted(path for path in made.iterdir() if not path.name.startswith(".") and path.name != RUNS)
    for folder in (atc, none):
        assert sorted(path.name for path in folder.glob("*.png")) == ["0_0.png", "0_1.png", "1_0.png"]
        assert len((folder / TIMINGS).read_text().splitlines()) == 4
    pixels = [np.asarray(Image.open(folder / "0_0.png")) for folder in (atc, none)]
    assert (pixels[0] != pixels[1]).any(), "merging changes the picture"
    (run,) = open_runs(made / RUNS)
    assert run["group"].dims == ("image", "step", "branch", "stage", "patch")
    assert run["group"].dtype == np.int16 and run["kept"].dtype == bool
    assert run.sizes == {"image": 3, "step": 2, "branch": 2, "stage": 3, "patch": 64}
    assert list(run["branch"].values) == ["unconditional", "conditional"]
    assert list(run["image"].values) == ["shapes/0_0", "shapes/0_1", "shapes/1_0"]
    assert run.attrs["complete"] and run.attrs["keep_rate"] == 0.5
    assert (run["tokens_left"] == 32).all() and (run["group"].max("patch") == 31).all()


def test_a_second_call_makes_nothing(made: Path) -> None:
    before = contents(made)
    (result,) = Synthesis(out=made, **QUICK).results()
    assert (result.pictures, result.made) == (3, 0) and contents(made) == before


@pytest.mark.parametrize("name", ["save", "write_rows", "RunWriter.add", "RunWriter.note"])
def test_stopped_anywhere_it_goes_on(name: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, _, method = name.rpartition(".")
    target: Any = getattr(task, owner) if owner else task
    real, after, calls = getattr(target, method), [False], [0]

    def dying(*words: Any, **more: Any) -> Any:
        calls[0] += 1
        if calls[0] % 2 == 0:
            if after[0]:
                real(*words, **more)
            raise KeyboardInterrupt
        return real(*words, **more)

    monkeypatch.setattr(target, method, dying)
    for turn in range(12):
        after[0] = turn % 2 == 0
        try:
            (result,) = Synthesis(out=tmp_path, **QUICK).results()
            break
        except KeyboardInterrupt:
            continue
    monkeypatch.undo()
    (result,) = Synthesis(out=tmp_path, **QUICK).results()
    here, there = contents(result.folder), contents(made / result.folder.name)
    assert here == there
    (run,) = open_runs(tmp_path / RUNS)
    other = open_run(made / RUNS / str(run.attrs["run"]))
    assert run.attrs["complete"]
    assert all((run[name] == other[name]).all() for name in ("kept", "group", "tokens_left"))


def test_a_disk_that_is_really_full(made: Path, until_it_fits: Any) -> None:
    folders = []

    def draw(out: Path) -> None:
        folders[:] = [result.folder for result in Synthesis(out=out, **QUICK).results()]

    assert until_it_fits(draw, pages=10) > 2
    assert contents(folders[0]) == contents(made / folders[0].name)
    here, there = (contents(out / RUNS / folders[0].name) for out in (folders[0].parent, made))
    assert here == there


def test_some_steps_or_none_are_recorded(tmp_path: Path) -> None:
    settings = {**QUICK, "limit": 1}
    list(Synthesis(out=tmp_path / "some", record_steps=[1], **settings).run())
    (run,) = open_runs(tmp_path / "some" / RUNS)
    assert list(run["step"].values) == [1]
    (result,) = Synthesis(out=tmp_path / "none", record_steps=[], **settings).results()
    assert result.bytes_of_patterns == 0 and not (tmp_path / "none" / RUNS).exists()
    with pytest.raises(BadInput, match="step 2 cannot be recorded: the denoiser is called 2 times, 0 to 1"):
        list(Synthesis(out=tmp_path, record_steps=[0, 2], **settings).run())


def test_speed_is_measured_beside_the_unreduced_model(tmp_path: Path) -> None:
    settings = {"steps": 2, "repeats": 2, "out": tmp_path, "progress": False, "device": "cpu"}
    lines = list(PipelineBench(methods=("tome-sd", "none"), ratios=(0.5, 0.7), **settings).run())
    found = tables.read(tmp_path, "bench_pipeline")
    assert list(zip(found["method"], found["ratio"], strict=True)) == [("none", 0), ("tome-sd", 0.5), ("tome-sd", 0.7)]
    assert found["speedup"][0] == 1 and set(found["repeats"]) == {2} and len(lines) == 5
    assert ((0 < found["deciding"]) & (found["deciding"] < 1)).all()
    with pytest.raises(BadInput, match="no option 'sz'"):
        list(PipelineBench(methods=("tome-sd",), options=("sz=2",), **settings).run())


@pytest.mark.parametrize(("words", "said"), [
    (("--pipeline", "nano", "--keep-rate", "0.5", "--compile", "yes"), "--compile, --keep-rate goes with ViTs"),
    (("--ratio", "0.5"), "--ratio goes with --pipeline"),
    (("--pipeline", "nano", "--ratio", "1"), "the ratio is 1;"),
])  # fmt: skip
def test_speed_of_a_vit_and_of_a_pipeline_are_not_mixed(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        CliRunner().invoke(tokenlens, ["bench", *words], catch_exceptions=False)


def test_the_protocol_of_the_study() -> None:
    pictures = prompts_of("imagenet").pictures(2)
    assert len(pictures) == 2000
    assert pictures[1].text == "A high quality photograph of a tench, Tinca tinca."
    assert [pictures[i].file for i in (0, 1, 2)] == ["0_0.png", "0_1.png", "1_0.png"]
    assert pictures[25].seed(100) == 100 + 121  # class 12, picture 1


def test_a_safety_checkers_black_picture_is_noted(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenlens.synthesis.nano import NanoPipeline

    call = NanoPipeline.__call__

    def flagged(self: Any, *words: Any, **more: Any) -> Any:
        output = call(self, *words, **more)
        output.nsfw_content_detected = [True]
        return output

    flagged.__signature__ = inspect.signature(call)  # type: ignore[attr-defined]
    monkeypatch.setattr(NanoPipeline, "__call__", flagged)
    (line,) = Synthesis(out=tmp_path, record_steps=[], **{**QUICK, "limit": 1}).run()
    assert "1 made black by the pipeline's safety checker" in line


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"pipeline": "nowhere"}, "no folder of a diffusers pipeline"),
        ({"pipeline": "nano:nowhere"}, "cannot be had from nowhere"),
        ({"prompts": "nowhere.txt"}, "there is no file of prompts"),
        ({"methods": ["sit"]}, "has parameters of its own"),
        ({"ratios": [0.999]}, "leaves 1 of the 64 tokens"),
        ({"options": ["rand=true"]}, "no option 'rand'"),
        ({"ratios": []}, "no ratio"),
    ],
)
def test_what_cannot_be_is_refused(words: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=sentence):
        list(replace(Synthesis(out=tmp_path, **QUICK), **words).run())
    assert not list(tmp_path.glob("*"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "holds no prompt"),
        (b"\xff\xfe", "no text in UTF-8"),
        (b"a\x07bell", "prompt 1 of p has a line break or another control"),
        (b"a" * 20_000, "20,000 letters"),
    ],
)
def test_prompts_that_are_none(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(BadInput, match=sentence):
        prompts_of(str(tmp_path / "p.txt"))


def test_a_prompt_is_one_line() -> None:
    with pytest.raises(BadInput, match="line break"):
        as_prompts(["a striped disc\nand more"])


def test_nothing_that_a_folder_names_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        assert huggingface_hub.constants.is_offline_mode()
        raise OSError("seen")

    (tmp_path / "model_index.json").write_text("{}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", opened)
    with pytest.raises(BadInput, match="seen"):
        open_pipeline(str(tmp_path), torch.device("cpu"), torch.float32)
    assert not huggingface_hub.constants.is_offline_mode()


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        ("{", "cannot be read"),
        (json.dumps({"_class_name": ["mine", "Pipe"]}), "a class of its own"),
        (json.dumps({"_class_name": "StableDiffusionPipeline", "unet": ["mine", "UNet"]}), "a class of its own"),
        (json.dumps({"_class_name": "StableDiffusionPipeline", "unet": []}), "a class of its own"),
        (json.dumps({"_class_name": "NoSuchPipeline"}), "cannot be opened as a diffusers pipeline"),
    ],
)
def test_a_folder_that_is_no_pipeline(index: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(index)
    with pytest.raises(BadInput, match=sentence):
        list(Synthesis(pipeline=str(tmp_path), out=tmp_path / "out", **QUICK).run())


def test_a_pipeline_without_prompts(tmp_path: Path) -> None:
    dit = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, num_layers=1, sample_size=8, patch_size=2,
        num_embeds_ada_norm=5, norm_num_groups=4,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, layers_per_block=1)
    diffusers.DiTPipeline(dit, vae, diffusers.DDIMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="DiTPipeline, which takes no prompt"):
        list(Synthesis(pipeline=str(tmp_path), out=tmp_path / "out", **QUICK).run())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--ratio", "1"), "the ratio is 1;"),
        (("--ratio", "half"), "ratio 'half' is not made of numbers"),
        (("--record-steps", "first"), "steps 'first' is not made of numbers"),
        (("--pipeline", "hf:nobody/nothing"), "cannot be opened as a diffusers pipeline"),
    ],
)
def test_the_command_line_says_it_in_a_sentence(
    words: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadInput, match=sentence):
        CliRunner().invoke(tokenlens, ["synthesize", "--limit", "1", *words], catch_exceptions=False)
