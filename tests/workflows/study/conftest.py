"""Study files that are written for a test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tokenlens.workflows.study.matrix import Study, read

Write = Callable[..., Study]
AXES = {
    "data": ["embedded:shapes", "embedded:birds"],
    "models": ["nano"],
    "methods": ["none", "topk", "tome"],
    "keep_rates": [0.25, 0.5],
    "seeds": [0],
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a study file, the usual axes unless told otherwise, and read it."""

    def study(axes: dict[str, Any] | None = None, **rest: Any) -> Study:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({"axes": {**AXES, **(axes or {})}, **rest}))
        return read(path)

    return study
