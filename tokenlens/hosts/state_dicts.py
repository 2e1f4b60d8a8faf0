"""Where in a checkpoint the ViT's tensors are, whichever tool saved it, and what they are called there.

Tools nest state dicts (`state_dict`, `model`, ...) and put words before the names: torch.compile `_orig_mod.`, data
parallelism `module.`, Lightning the attribute that holds the model, self-distillation `backbone.`. All that stand
before `patch_embed.proj.weight` are taken off, which every ViT of timm has.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from ..errors import BadInput

State = dict[str, Tensor]
# timm's order: it prefers the average of the weights
NESTED = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "teacher")
PATCHES = "patch_embed.proj.weight"
OWN = ("", "vit.")  # prefixes that `checkpoints.rename` knows, beside those of the reducers
WRAPPED = re.compile(r"^(?:(?:_orig_mod|module)\.)+")
SHOWN = 6  # names in a message


def settings_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of whatever trained a checkpoint, with its model as timm's `train.py` names it."""
    said = content.get("args")
    said = vars(said) if isinstance(said, argparse.Namespace) else said
    found = dict(said) if isinstance(said, dict) else {}
    if not isinstance(found.get("model"), str):
        found["model"] = content.get("arch")
    return found


def state_of(content: Mapping[str, Any], source: str) -> State:
    """The tensors that the weights are, by the names that the model itself has for them.

    Args:
        content: what `torch.load` gave.
        source: the file, for messages.

    Raises:
        BadInput: there are no tensors, or more than one ViT.
    """
    found, top = content, list(content)
    if "ema_best" in content:  # the published code says itself whether the average was better
        order: tuple[str, ...] = ("model_ema", "model") if content["ema_best"] else ("model",)
    else:
        order = NESTED
    while inner := next((found[name] for name in order if isinstance(found.get(name), dict) and found[name]), None):
        found, order = inner, NESTED
    state = {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not state:
        raise BadInput(
            f"{source} holds no tensors, only {names_in(top)}; give a state dict, or a checkpoint with one under "
            f"{' or '.join(NESTED[2:5])}"
        )
    return _bare(state, source)


def _bare(state: State, source: str) -> State:
    """Take off what stands before the names; tensors that are not the ViT's stay behind."""
    state = {WRAPPED.sub("", name): value for name, value in state.items()}
    prefixes = sorted({name.removesuffix(PATCHES) for name in state if name.endswith(PATCHES)})
    if len(prefixes) > 1:
        raise BadInput(
            f"{source} holds {len(prefixes)} ViTs, with the prefixes {names_in(map(repr, prefixes))}; "
            "save the state dict of one of them"
        )
    if not prefixes or prefixes[0] in OWN:
        return state
    (prefix,) = prefixes
    left = [name for name in state if not name.startswith(prefix)]
    if left:
        warnings.warn(
            f"of {source}, the tensors below {prefix} are read as the ViT, and {len(left)} others are left out "
            f"({names_in(left)})",
            stacklevel=2,
        )
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def names_in(state: Iterable[object]) -> str:
    """A few of the names in a state dict, for a message."""
    every = [str(name) for name in state]
    return ", ".join(every[:SHOWN]) + (", ..." if len(every) > SHOWN else "") or "nothing"
