"""Files describe, commands decide: what a file names is fetched, or run, on no word but the user's."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import xarray as xr

from tokenlens.data import open_data
from tokenlens.data.remote import is_remote, refuse_remote
from tokenlens.errors import BadInput
from tokenlens.extraction.jobs import Job
from tokenlens.figures.select.runs import open_images
from tokenlens.training.options import Options
from tokenlens.weights import nano_path
from tokenlens.workflows.study.matrix import read

AWAY = ["hf:somebody/set", "wds:https://example.org/{0..3}.tar", "wds:here.tar::gs://bucket/a.tar"]
STUDY = """
axes: {{data: ["{}"], models: [nano], methods: [topk], keep_rates: [0.5]}}
backbone: pretrained
finetune: {{recipe: shapes, set: {{loss.teacher: "{}"}}}}
"""


@pytest.mark.parametrize(
    "way",
    ["pipe:touch {}", "here.tar::pipe:touch {}", "https://example.org/{{{{a,b}}}}.tar::pipe:touch {}", "ftp://{}"],
)
def test_a_command_is_never_run_whoever_names_it(tmp_path: Path, way: str) -> None:
    mark = tmp_path / "ran"
    with pytest.raises(BadInput, match=r"is no place of a shard: .*commands are never run") as told:
        open_data(f"wds:{way.format(mark)}")
    assert not mark.exists() and "\n" not in str(told.value)


def test_what_is_here_is_not_remote(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    here = ["embedded:shapes", f"folder:{tmp_path}", f"wds:{tmp_path}/a.tar", f"hf:{tmp_path}/set", "w.pth", "nano"]
    assert not any(map(is_remote, here)) and all(map(is_remote, AWAY))
    for spec in (*here, None, 5, ["hf:a/b"]):
        refuse_remote(spec, "the run x")


@pytest.mark.parametrize("spec", AWAY)
class TestWhatAFileNames:
    """Each kind of file that can name a place in the network."""

    def test_a_header(self, tmp_path: Path, spec: str) -> None:
        said = {"format": 1, "data": spec, "model": "nano", "reduction": {"method": "topk", "keep_rate": 0.5}}
        said["reduction"] |= {"blocks": [3, 6, 9], "options": {}}  # type: ignore[operator]
        path = tmp_path / "w.safetensors"
        safetensors.torch.save_file(safetensors.torch.load_file(nano_path()), path, {"tokenlens": json.dumps(said)})
        with pytest.raises(BadInput, match=r"the header of .*w\.safetensors names .* allow it with --allow-remote"):
            next(Job(weights=str(path)).run())
        assert Job(weights=str(path), allow_remote=True).completed().data == spec
        assert Job(weights=str(path), data=spec).completed().data == spec

    def test_a_run(self, spec: str) -> None:
        run = xr.Dataset(attrs={"dataset": spec, "run": "a-run"})
        with pytest.raises(BadInput, match=r"the run a-run names .*--allow-remote"):
            open_images(run)

    def test_a_recipe(self, tmp_path: Path, spec: str) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(f'extends: nano\ndata: {{name: "{spec}"}}\n')
        with pytest.raises(BadInput, match=r"the recipe .*mine\.yaml names .*--allow-remote"):
            Options(recipe=str(path)).resolved()
        for asked in (Options(str(path), allow_remote=True), Options(str(path), spec), Options("nano", data=spec)):
            assert asked.resolved().data.name == spec

    def test_a_study(self, tmp_path: Path, spec: str) -> None:
        path = tmp_path / "study.yaml"
        for data, teacher in ((spec, "w.pth"), ("embedded:shapes", spec)):
            path.write_text(STUDY.format(data, teacher))
            with pytest.raises(BadInput, match=r"the study names .*--allow-remote"):
                read(path)
            assert read(path, allow_remote=True).allow_remote
