"""The walls between the rooms, read off the import lines."""

import ast
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"tokenlens": "tokenlens", "tokenlens.analysis": "analysis", "tokenlens.figures": "figures"}
HEAVY = {"torch", "timm", "torchvision"}


def modules() -> dict[str, Path]:
    """Every module of the three rooms by its installed name."""
    found = {}
    for package, folder in ROOMS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            found[name] = path
    return found


MODULES = modules()


def imports(name: str, top_level_only: bool = False) -> set[str]:
    """Absolute names that a module imports, also `package.name` for `from package import name`."""
    path = MODULES[name]
    tree = ast.parse(path.read_text())
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    nodes = [node for node in (now(tree) if top_level_only else ast.walk(tree))]
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def now(tree: ast.AST) -> list[ast.AST]:
    """The nodes that run at import: not those in functions, nor those for type checkers only."""
    found: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        checking = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        if not checking and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [node, *now(node)]
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def room(name: str) -> str:
    """The wing, or the folder of the base, that a module is in."""
    parts = name.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 else name


WINGS = {"tokenlens.analysis", "tokenlens.figures", "analysis", "figures"}
ON_TOP = {"tokenlens.workflows", "tokenlens.commands", "tokenlens.cli", "tokenlens.__main__"}
# what a room may not reach, beyond what holds for all below the top: design.md, section 3
CLOSED = {
    "tokenlens.kernels": {
        f"tokenlens.{other}" for other in ("core", "hosts", "methods", "data", "records", "extraction", "reduce")
    },
    "tokenlens.core": {
        f"tokenlens.{other}" for other in ("hosts", "methods", "data", "records", "extraction", "reduce")
    },
    "tokenlens.hosts": {f"tokenlens.{other}" for other in ("methods", "data", "records", "extraction", "reduce")},
    "tokenlens.methods": {f"tokenlens.{other}" for other in ("hosts", "data", "records", "extraction", "reduce")},
    "tokenlens.data": {f"tokenlens.{other}" for other in ("core", "hosts", "methods", "extraction", "reduce")},
    "tokenlens.records": {f"tokenlens.{other}" for other in ("core", "hosts", "methods", "data", "extraction")},
    "tokenlens.analysis": {"tokenlens.figures", *HEAVY},
    "tokenlens.figures": {"tokenlens.analysis", *HEAVY},
}

OPEN = {"tokenlens.core.registry", "tokenlens.core.families"}  # what every room may read: they know none, and no torch


def crossed(name: str) -> set[str]:
    """What a module imports through a wall."""
    here = room(name)
    closed = set(CLOSED.get(here, ()))
    if here not in ON_TOP:
        closed |= ON_TOP | (WINGS if here not in WINGS else set())
    through = {module for module in imports(name) for wall in closed if within(module, wall)}
    through -= {module for module in through for part in OPEN if within(module, part)}
    if here == "tokenlens.figures":  # the registry of metrics and their arrays serve both wings
        through = {m for m in through if not within(m, "tokenlens.analysis.metrics") and m != "tokenlens.analysis"}
    return through


@pytest.mark.parametrize("name", MODULES)
def test_walls(name: str) -> None:
    through = crossed(name)
    assert not through, f"{name} imports {', '.join(sorted(through))}"


def test_the_walls_stand_somewhere() -> None:
    """The test above sees imports at all, relative ones too."""
    assert {room(name) for name in MODULES} > set(CLOSED)
    assert "tokenlens.core.plan.merge" in imports("tokenlens.methods.tome")
    assert "torch" in imports("tokenlens.core.walk")


def test_no_module_imports_itself_through_others() -> None:
    graph = {}
    for name in MODULES:
        used = {module for module in imports(name, top_level_only=True) if module in MODULES and module != name}
        # `from . import x` names the package as well, and a package imports the modules in it
        graph[name] = {module for module in used if not within(name, module)}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_file_length() -> None:
    long = {name: lines for name, path in MODULES.items() if (lines := len(path.read_text().splitlines())) > 270}
    assert not long


LIGHT = """
import importlib, sys
import tokenlens
tokenlens.BadInput
assert "torch" not in sys.modules, "import tokenlens"
import tokenlens.cli
from click.testing import CliRunner
assert CliRunner().invoke(tokenlens.cli.tokenlens, ["--help"]).exit_code == 0
heavy = {"torch", "timm", "numba", "xarray", "matplotlib", "pandas"} & set(sys.modules)
assert not heavy, f"tokenlens --help imports {heavy}"
for name in sys.argv[1:]:
    importlib.import_module(name)
    assert "torch" not in sys.modules, f"{name} imports torch"
"""


def test_torch_is_not_imported_before_it_is_needed() -> None:
    wings = [name for name in MODULES if room(name) in WINGS]
    done = subprocess.run([sys.executable, "-c", LIGHT, *wings], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_room_is_packed() -> None:
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    rooms = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert rooms <= {*packed}, f"pyproject.toml packs no {', '.join(sorted(rooms - {*packed}))}"
