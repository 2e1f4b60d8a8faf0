"""Where modules went that had another name in the first edition. To be removed with the release after this one.

An old name gives the very module that has the new one, with a DeprecationWarning that names it. The finder stands
before Python's own, which would find the modules of a package that has moved a second time, under their old names.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "attention": "core.attention",
    "bench": "benchmark.bench",
    "checkpoints": "hosts.checkpoints",
    "choose": "records.where",
    "demo": "workflows.demo",
    "draws": "core.random",
    "extract": "extraction.extract",
    "flops": "extraction.flops",
    "jobs": "extraction.jobs",
    "loading": "data.loading",
    "machine": "benchmark.timing",
    "metrics": "records.accuracy",
    "models": "extraction.reduced_models",
    "plan": "core.plan",
    "published": "hosts.published_checkpoints",
    "record": "extraction.batch",
    "run": "records.run",
    "schedule": "core.schedule",
    "schema": "records.schema",
    "store": "records.store",
    "study": "workflows.study",
    "support": "hosts.timm_vit",
    "table": "records.tables",
    "trace": "core.trace",
    "view": "core.view",
    "vit": "reduce",
    "whole": "records.atomic",
    "data.choosing": "data.selection",
    "methods.base": "methods.registry",
    "study.child": "workflows.study.child",
    "study.carry": "workflows.study.execute",
    "study.matrix": "workflows.study.matrix",
    "study.runner": "workflows.study.runner",
    "study.tasks": "workflows.study.tasks",
    "training.asked": "training.options",
    "training.dropping": "training.patch_dropout",
    "training.reading": "training.load_recipe",
    "training.start": "training.setup",
    "weights.joint": "workflows.nano.joint",
    "weights.train": "workflows.nano.train",
    "analysis.accuracy": "analysis.accuracy_proxy",
    "analysis.bootstrap": "analysis.statistics.bootstrap",
    "analysis.features": "analysis.metrics.features",
    "analysis.heatmap": "analysis.metrics.heatmap",
    "analysis.judging": "analysis.evidence",
    "analysis.overlap": "analysis.metrics.overlap",
    "analysis.partition": "analysis.metrics.partition",
    "analysis.radial": "analysis.metrics.radial",
    "analysis.ranks": "analysis.metrics.ranks",
    "analysis.reading": "analysis.chunked_reader",
    "analysis.results": "analysis.compare_folder",
    "analysis.truth": "analysis.ground_truth",
    "figures.accuracy": "figures.plots.accuracy",
    "figures.axes": "figures.plots.axes",
    "figures.chance": "figures.plots.chance",
    "figures.contact_sheet": "figures.parts.sheet",
    "figures.correlations": "figures.plots.correlations",
    "figures.curves": "figures.parts.curves",
    "figures.datasets": "figures.plots.datasets",
    "figures.depth": "figures.plots.depth",
    "figures.drawn": "figures.output.write",
    "figures.embedded_sets": "figures.plots.embedded_sets",
    "figures.examples": "figures.plots.examples",
    "figures.files": "figures.output.formats",
    "figures.groups": "figures.parts.group_colors",
    "figures.lines": "figures.parts.lines",
    "figures.looks": "figures.theme.palette",
    "figures.object": "figures.plots.object",
    "figures.pairs": "figures.select.pairs",
    "figures.printed": "figures.output.latex_markdown",
    "figures.proxy": "figures.plots.proxy",
    "figures.runs": "figures.select.runs",
    "figures.setting": "figures.select.setting",
    "figures.sheets": "figures.plots.contact_sheet",
    "figures.similarity": "figures.plots.similarity",
    "figures.style": "figures.theme.style",
    "figures.tokens_left": "figures.plots.tokens_left",
    "figures.tradeoff": "figures.plots.tradeoff",
    "figures.where": "figures.select.where",
}
"""Old name to new name, both below `tokenlens`."""
LEFT = {
    "hosts": {
        "load": "extraction.pretrained",
        "nano_reducers": "extraction.pretrained",
        "open_host": "extraction.pretrained",
        "pretrained": "hosts.loading",
        "untrained": "hosts.loading",
        "vit_for": "hosts.loading",
        "input_of": "hosts.loading",
    },
}
"""What was a module and is a package, with the names that it had and where they are now."""


def left_names(package: str) -> Callable[[str], Any]:
    """The `__getattr__` of a package that names have left."""
    homes = LEFT[package.partition(".")[2]]

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        new = f"{__package__}.{homes[name]}"
        told = f"{package}.{name} is {new}.{name} now; the old name goes with the next release"
        warnings.warn(told, DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(new), name)

    return get


class Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of `MOVED`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the import system asks; None for all that has not moved."""
        package, _, name = fullname.partition(".")
        return importlib.util.spec_from_loader(fullname, self) if package == __package__ and name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        """The import system's own: it is replaced below."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module in its new place under the old name too: the import system hands on what stands there."""
        old = module.__name__
        new = f"{__package__}.{MOVED[old.partition('.')[2]]}"
        warnings.warn(f"{old} is {new} now; the old name goes with the next release", DeprecationWarning, stacklevel=2)
        sys.modules[old] = importlib.import_module(new)
