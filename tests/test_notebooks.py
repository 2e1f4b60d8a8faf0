"""The notebooks of docs/: kept without output, named on the site, and run from their first cell to their last."""

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_output_and_stands_on_the_site(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert f": notebooks/{path.name}\n" in (ROOT / "mkdocs.yml").read_text()


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    nbformat: Any = pytest.importorskip("nbformat")
    client: Any = pytest.importorskip("nbclient").NotebookClient
    notebook = nbformat.read(path, 4)
    client(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    said = [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert not [text for text in said if "ipywidgets" not in text]  # tqdm misses those when it is imported
    assert [output for output in outputs if "image/png" in output.get("data", {})]
