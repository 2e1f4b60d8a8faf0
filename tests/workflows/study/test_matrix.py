"""What a study file says, and what it cannot mean."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tokenlens.errors import BadInput
from tokenlens.workflows.study.matrix import Study, read, shipped

Write = Callable[..., Study]
SETS = ["embedded:shapes", "embedded:birds"]


def test_every_combination_is_one_run_and_the_unreduced_model_has_one_rate(write: Write) -> None:
    cells = write().cells
    assert len(cells) == len(set(cells)) == 2 * (1 + 2 * 2)
    assert {(cell.method, cell.keep_rate) for cell in cells} == {
        ("none", 1.0), ("topk", 0.25), ("topk", 0.5), ("tome", 0.25), ("tome", 0.5)
    }  # fmt: skip


def test_further_combinations_take_from_the_axes_what_they_do_not_name(write: Write) -> None:
    plain = set(write().cells)
    more = set(write(also=[{"methods": ["topk"], "seeds": [0, 1]}]).cells) - plain
    assert {(cell.method, cell.seed) for cell in more} == {("topk", 1)}
    assert {cell.data for cell in more} == set(SETS)


def test_off_the_shelf_tokens_are_removed_at_every_block() -> None:
    cells = read(shipped("off-the-shelf")).cells
    assert len(cells) == len(set(cells)) == 1 + 4 * (1 + 4 * 2)
    assert {cell.amount for cell in cells if cell.method == "tome"} == {
        "remove0", *(f"remove{count}{how}" for count in (4, 8, 13, 16) for how in ("", "-decreasing"))
    }  # fmt: skip


def test_a_recipe_by_data_set(write: Write) -> None:
    tuning = write(finetune={"recipe": {"embedded:birds": "nabirds", "embedded": "shapes"}}).finetune
    assert tuning is not None
    assert [tuning.recipe_for(data) for data in SETS] == ["shapes", "nabirds"]
    with pytest.raises(BadInput, match="names no recipe for coco:x"):
        tuning.recipe_for("coco:x")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"axis": {}}, "did you mean axes"),
        ({"axes": {"method": ["topk"]}}, "did you mean methods"),
        ({"axes": {"methods": []}}, "methods must each be a list with something in it"),
        ({"axes": {"remove": [4]}}, "keep_rates and remove both say how many tokens remain; give one of them"),
        ({"axes": {"keep_rates": [1.5]}}, r"keep rate 1.5 is outside \(0, 1\]"),
        ({"finetune": {"recipe": "shapes", "start": {}}}, "no key of finetune called 'start'"),
        ({"backbone": {"recipe": "nano", "start": {"a": "b", "b": "a"}}}, "starts from itself through"),
        (
            {"finetune": {"recipe": "shapes", "methods": {"topq": {}}}},
            "no method in this study called 'topq'; did you mean",
        ),
        ({"finetune": "shapes"}, "a mapping with a recipe, or the word none"),
        ({"extract": {"limits": 5}}, "did you mean limit"),
        ({"axes": {1: ["a"]}}, "no axis called '1'"),
        ({"axes": {"seeds": ["a"]}}, "a seed is 'a'; give a whole number"),
        ({"axes": {"seeds": [True]}}, "a seed is True"),
        ({"axes": {"seeds": [-1]}}, "a seed is -1"),
        ({"axes": {"keep_rates": [True]}}, "keep rate True is outside"),
        ({"extract": {"limit": "abc"}}, "the limit of extract is 'abc'; give a whole number"),
        ({"extract": {"limit": 0}}, "the limit of extract is 0; give a whole number of at least 1"),
        ({"extract": {"batch_size": True}}, "the batch_size of extract is True; give a whole number"),
        ({"extract": {"features": "float23"}}, "no features of extract called 'float23'; did you mean float32"),
        ({"extract": {"split": 3}}, "the split of extract is 3; give a word"),
        ({"compare": {"resamples": "many"}}, "the resamples of compare is 'many'; give a whole number"),
        ({"axes": {"seeds": [2**63]}}, "a seed is 9223372036854775808; give a whole number of at least 0 and at most"),
        ({"extract": {"limit": [1]}}, "extract is .*; it is a mapping"),
        ({"images": [1]}, r"images is \[1\]; it is a mapping"),
        ({"images": {"embedded:shapes": 5}}, "images is .*; it is a mapping"),
        ({"images": {"embedded:shapes": {"train": "many"}}}, "number of train images of embedded:shapes is 'many'"),
        ({"images": {"embedded:shapes": {"trian": 5}}}, "did you mean train"),
        ({"also": 3}, "also is 3; it is a list of mappings"),
        ({"images": 3}, "images is 3; it is a mapping"),
        ({"finetune": {"recipe": {1: "shapes"}}}, r"recipe is \{1: 'shapes'\}; it is a mapping"),
        ({"finetune": {"recipe": "shapes", "set": {1: 2}}}, r"set is \{1: 2\}; it is a mapping"),
        ({"backbone": {"recipe": "nano", "start": {"a": ["b"]}}}, r"start is .*; it is a mapping"),
    ],
)
def test_what_cannot_be_meant_is_said_with_the_file(write: Write, said: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence) as caught:
        write(**said)
    assert "mine.yaml" in str(caught.value)


def test_settings_of_steps_are_what_the_steps_take(write: Write) -> None:
    study = write(extract={"features": True, "limit": None, "workers": 0}, compare={"resamples": 20})
    assert study.extract == {"features": "float32", "workers": 0} and study.compare == {"resamples": 20}
    assert write(extract={"features": False}).extract == {}


def test_files_that_are_no_study(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{")
    with pytest.raises(BadInput, match="is no YAML"):
        read(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("remark: caf\xe9", "latin-1")
    with pytest.raises(BadInput, match=r"is no YAML \('utf-8' codec can't decode"):
        read(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("- 1")
    with pytest.raises(BadInput, match="a study is a mapping"):
        read(tmp_path / "b.yaml")
    with pytest.raises(BadInput, match="did you mean paper"):
        shipped("papers")


def test_the_papers_study_has_its_six_hundred_runs() -> None:
    cells = read(shipped("paper")).cells
    assert len([cell for cell in cells if cell.method != "none"]) == 13 * 4 * 3 * 4
