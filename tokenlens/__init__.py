"""tokenlens: which tokens does a Vision Transformer keep or merge?

The names below are all a script needs. They are imported when first used, so that `import tokenlens` and the command
line start without torch.
"""

import importlib
import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from ._moved import Moved
from .compiled import find_place

find_place()
try:
    __version__ = version("tokenlens-vit")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_HOME = {
    "reduce": "reduce",
    "ReducedViT": "core.reduced_vit",
    "Plan": "core.plan",
    "select": "core.plan",
    "merge": "core.plan",
    "mix": "core.plan",
    "View": "core.view",
    "Trace": "core.trace",
    "Reducer": "core.reducer",
    "register": "methods.registry",
    "load": "extraction.pretrained",
    "extract": "extraction.extract",
    "open_runs": "records.store",
    "compare": "analysis.compare",
    "show": "figures.show",
    "plot": "figures.show",
    "draw": "figures.show",
    "report": "figures.report.write",
    "open_data": "data",
    "BadInput": "errors",
}
__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tokenlens' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"tokenlens.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # `extract` is a module and a function: importing the module must not put it into the function's place
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
sys.meta_path.insert(0, Moved())
