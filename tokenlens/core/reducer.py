"""What decides at one stage: looks at a View, returns a Plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..errors import BadInput
from .attention import Attended
from .families import KEEPING, MERGING
from .plan import Plan
from .positions import RULES
from .schedule import Schedule
from .view import View


@dataclass(frozen=True)
class Stage:
    """Where a reducer stands."""

    index: int
    """0 for the first stage of the model"""
    block: int
    keep: int
    """tokens asked to remain, for the model's own input size"""
    patches: int
    dim: int
    """channels of a token"""
    grid: tuple[int, int] | None = None
    """rows and columns of patches, for the model's own input size"""
    depth: int = 12
    """blocks of the model"""


@dataclass(frozen=True)
class Look:
    """How a method is called and drawn; what is empty is chosen for it."""

    label: str = ""
    """its name for readers"""
    color: str = ""
    """#rrggbb"""
    marker: str = ""
    """as matplotlib takes it"""


class Reducer(nn.Module):
    """Decides at one stage: looks at a View, returns a Plan, never touches the model.

    A subclass implements `forward` and says the following about itself.

    Examples:
        >>> from tokenlens import Reducer, select
        >>> class Loudest(Reducer):
        ...     family = "pruning"
        ...
        ...     def forward(self, view):
        ...         return select(view, view.tokens.norm(dim=-1).topk(view.keep).indices)
        >>> Loudest.keeps, Loudest.merges
        (True, False)
    """

    site: ClassVar[str] = "after_attention"
    """where in its block it acts: "after_attention" (between attention and MLP), "before_block" (it reads the block
    before), "ahead" (before the block, of which it reads the attention, formed a second time on what is left),
    "before_attention" (which is formed once, and carried over to what is left) or "after_block" """
    family: ClassVar[str] = "pruning"
    """pruning, merging, soft, radial, random or none: what it is listed and drawn with"""
    keeps: ClassVar[bool] = True
    """its patterns are sets of kept patches; by default of what prunes, and said by a merger that keeps its centres"""
    merges: ClassVar[bool] = False
    """its patterns are partitions; by default of what merges, hard or softly"""
    trained: ClassVar[bool] = False
    """it has parameters of its own, and means little before they are trained"""
    adaptive: ClassVar[bool] = False
    """it decides how many tokens remain, so it is asked even where no more are present than were asked to remain"""
    policy: ClassVar[bool] = False
    """in training no token leaves: it learns who stays, by the mass of its plan and from the un-reduced model"""
    budget: ClassVar[str] = "tokens"
    """what a policy holds to what was asked for: the "tokens" of each stage, or the "operations" of the whole walk"""
    drops: ClassVar[bool] = True
    """the content of some patches is lost; by default of what prunes, and said by a merger that prunes too"""
    halves: ClassVar[bool] = False
    """a stage removes at most half of the tokens, as mergers of pairs do: low rates are not reached"""
    waits: ClassVar[bool] = False
    """its tokens may wait and come back, so that what it keeps is not nested"""
    watches: ClassVar[bool] = False
    """it is shown the attention of every block since the stage before, by `watch`"""
    fixed: ClassVar[bool] = False
    """its pattern is the same in every image"""
    portable: ClassVar[bool] = False
    """it decides by operations that ONNX has, the same on every runtime, so that `tokenlens export` takes it"""
    needs: ClassVar[tuple[str, ...]] = ()
    """what it reads of the host: "class token", "attention", "keys" """
    paper: ClassVar[str] = ""
    """where it was published, as in "arXiv:2308.04657"; empty for what is in no paper"""
    look: ClassVar[Look] = Look()
    """how it is called and drawn in figures; what is left empty is drawn from the palette of its family"""

    from_class: str = "class"
    """whose attention stands for the class token's: its own, or the mean that is "received" """
    keys: str = "content"
    """which keys are compared where positions rotate them: those before the rotation, or the "rotated" """
    position: str = "auto"
    """where a merged token stands, by the rules of `positions`"""

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        if "family" in cls.__dict__:
            cls.keeps = cls.__dict__.get("keeps", cls.family in KEEPING)
            cls.merges = cls.__dict__.get("merges", cls.family in MERGING)
            cls.drops = cls.__dict__.get("drops", cls.family in KEEPING)

    sparsity: float = 1.0
    """the share of its block's attention that is left, of each head's the strongest; 1: all"""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, view: View) -> Plan:
        """Decide what becomes of the view's N tokens; `view.keep` of them are asked to remain."""
        raise NotImplementedError

    def watch(self, attended: Attended, memory: Tensor | None) -> Tensor:
        """What to remember after one more block; what was remembered before, or the last plan handed on, is given."""
        raise NotImplementedError

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Stay at float32 where the model is cast to less: decisions are made in it."""

        def wide(tensor: Tensor) -> Tensor:
            cast = fn(tensor)
            return tensor.to(cast.device, torch.float32) if cast.is_floating_point() and cast.itemsize < 4 else cast

        return super()._apply(wide, recurse)

    @classmethod
    def settings(cls) -> dict[str, tuple[str, ...]]:
        """How it may read its host, beside options of its own: name -> what it takes, the default first."""
        has = {
            "from_class": ("class", "received") if "class token" in cls.needs else (),
            "keys": ("content", "rotated") if "keys" in cls.needs else (),
            "position": RULES if cls.merges else (),
        }
        return {name: values for name, values in has.items() if values}

    @classmethod
    def schedule(cls, asked: Schedule, grid: tuple[int, int], **options: Any) -> Schedule:
        """The stages that the method really uses; only the contiguous radial patterns depart from what was asked."""
        return asked


def demand(holds: bool, option: str, value: Any, wanted: str) -> None:
    """Refuse the value of an option, of which a reducer demands what does not hold."""
    if not holds:
        raise BadInput(f"option {option} is {value!r}; it takes {wanted}")
