"""The pages of CONTRIBUTING.md, executed as they stand: a package of one's own that passes our contract tests."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
POINTS: dict[str, dict[str, str]] = tomllib.loads(re.findall(r"```toml\n(.*?)```", TEXT, re.S)[0])["project"][
    "entry-points"
]
PAGES = dict(re.findall(r"^## An? ([^\n]+)\n\n```python\n(.*?)```", TEXT, re.S | re.M))
CONTRACTS = {
    "tokenlens.methods": "methods/test_contract.py", "tokenlens.metrics": "analysis/metrics/test_contract.py",
    "tokenlens.figures": "figures/test_contract.py", "tokenlens.data": "data/test_contract.py",
    "tokenlens.hosts": "hosts/test_contract.py",
}  # fmt: skip
LISTS = {
    "tokenlens.methods": ["methods"], "tokenlens.metrics": ["metrics"], "tokenlens.figures": ["figures", "--list"],
    "tokenlens.data": ["data"], "tokenlens.hosts": ["hosts"],
}  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the pages are installed, as an installer would leave them."""
    folder = tmp_path_factory.mktemp("contributed")
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").touch()
    modules = [place.partition(":")[0].split(".")[1] for group in POINTS.values() for place in group.values()]
    assert len(modules) == len(PAGES) == 6
    for module, page in zip(modules, PAGES.values(), strict=True):
        (folder / "my_package" / f"{module}.py").write_text(page, encoding="utf-8")
    info = folder / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    points = "\n".join(
        f"[{group}]\n" + "\n".join(f"{name} = {place}" for name, place in named.items())
        for group, named in POINTS.items()
    )
    (info / "entry_points.txt").write_text(points)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.long
@pytest.mark.parametrize("group", POINTS)
def test_a_page_passes_the_contract_tests_of_its_kind(group: str, environment: dict[str, str]) -> None:
    wanted = " or ".join(POINTS[group])
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", f"tests/{CONTRACTS[group]}"]
    done = subprocess.run([*command, "-k", wanted], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 2 * len(POINTS[group]), done.stdout[-1000:]


@pytest.mark.parametrize("group", POINTS)
def test_pages_are_listed(group: str, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "tokenlens", *LISTS[group]]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert all(re.search(rf"^{name}\b", done.stdout, re.M) for name in POINTS[group]) and not done.stderr
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


@pytest.mark.long
def test_all_of_them_work_together(environment: dict[str, str], tmp_path: Path) -> None:
    """The commands on the page's methods, data, metric and figure, in one go."""

    def tokenlens(*words: str) -> str:
        command = [sys.executable, "-m", "tokenlens", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    tokenlens("extract", "--method", "loudest,loudest_centres", "--data", "stripes:drawn", "--limit", "8",
              "--weights", "random", "--model", "nano-micro")  # fmt: skip
    tokenlens("compare", "--metric", "dice,iou,vmeasure", "--resamples", "20", "--csv")
    rows = (tmp_path / "results" / "comparison.csv").read_text()
    assert "dice" in rows and "iou" in rows, "a merger that keeps its centres is compared by sets of patches"
    tokenlens("figures", "kept_share", "--format", "png")
    assert (tmp_path / "figures-out" / "kept_share.png").stat().st_size > 5000
