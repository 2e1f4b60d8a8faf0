"""What the walk needs of a model, and the registry of those who can give it: one class a family of hosts.

Shapes: B images, T tokens with the prefix, N patch tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import BadInput
from .attention import QKV
from .plan import Plan
from .positions import Positions
from .registry import Registry


@dataclass
class Tokens:
    """An image as a sequence, before the first block."""

    x: Float[Tensor, "b t c"]
    """prefix tokens first, then patches, row by row"""
    grid: tuple[int, int]
    """rows and columns of patches"""
    positions: Positions | None = None
    """what travels with the patches to every block, as rows of a rotary embedding"""
    valid: Bool[Tensor, "b n"] | None = None
    """which places of a ragged grid this image has; None: all"""


class Ear:
    """Hears what one attention projects, during one walk; who runs a block lays it on the attention."""

    given: Any = None
    heard: Any = None


Between = Callable[[Tensor], Tensor]
"""What stands between attention and MLP: (B, T, C) tokens to those that go on"""
Decide = Callable[[Tensor, QKV, Tensor], "Plan | None"]
"""What stands before an attention: (B, T, C) tokens, their projections and softmax (B, H, T, T) to a plan"""


class Host(Protocol):
    """A model that tokens run through. It keeps nothing of a walk: one host serves many threads."""

    family: ClassVar[str]
    """the word for the family in lists"""
    supported: ClassVar[str]
    """which models are understood, for a refusal"""

    model: nn.Module
    """the library's own module"""
    name: str
    blocks: int
    width: int
    """channels of a token"""
    heads: int
    prefix: int
    """class, distillation and register tokens before the patches"""
    grid: tuple[int, int]
    """rows and columns of patches at the model's own input size"""
    image: tuple[int, int, int]
    """(channels, height, width) of the model's own input size"""
    has_class_token: bool
    has_positions: bool
    """whether positions travel with the tokens to every block"""

    def __init__(self, model: nn.Module) -> None:
        """Raises BadInput, by name, where the model has a part that is not understood."""

    @staticmethod
    def recognises(model: object) -> bool:
        """Is it of this family, whether or not all its parts are understood?"""

    @classmethod
    def names(cls) -> Iterable[str]:
        """The names of models of this family that `--model` takes; some of them may not be understood."""

    @staticmethod
    def example() -> nn.Module:
        """A small model of this family with random weights, which tests and docs run on."""

    def prepare(self, blocks: Sequence[int]) -> None:
        """Make these blocks of the model, a copy of the user's, ready for an ear and for what stands between."""

    def embed(self, images: Tensor) -> Tokens:
        """(B, channels, H, W) -> tokens."""

    def block(
        self,
        i: int,
        x: Tensor,
        mask: Tensor | None,
        positions: Any,
        ear: Ear | None = None,
        between: Between | None = None,
        decide: Decide | None = None,
    ) -> Tensor:
        """Block i as the library runs it, its hooks included; (B, T, C) tokens and (B, 1, 1, T) additive mask.

        With `decide` the attention's softmax is formed first and carried over to the tokens of the plan, whose values
        are made of what they have become.
        """

    def second(self, i: int, x: Tensor) -> Tensor:
        """The half of block i that follows its attention, of tokens (B, T, C); the block is one of those prepared."""

    def qkv(self, i: int, x: Tensor, ear: Ear) -> QKV:
        """What block i's attention makes of its input x (B, T, C): as the ear heard it, else made anew."""

    def finish(self, x: Tensor, mass: Tensor | None) -> Tensor:
        """The features (B, T, C) after the last block: normalised, with padding out of the pool's way."""

    def head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool and classify: (B, T, C) -> (B, classes)."""

    def grid_of(self, size: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of patches of images of (height, width)."""

    def flops(self, i: int, attended: Any, left: Any) -> Any:
        """Multiply-adds of block i on one image: attention over `attended` patches, MLP over `left`."""

    def flops_around(self) -> float:
        """Multiply-adds of patch embedding and head on one image."""


H = TypeVar("H", bound=type)


def _adopt(name: str, loaded: Any) -> None:
    HOSTS.add(name, loaded, loaded)


HOSTS: Registry[type[Host]] = Registry("host", "tokenlens.hosts", adopt=_adopt)


def host(name: str) -> Callable[[H], H]:
    """Class decorator: register a family of hosts.

    Raises:
        BadInput: another family has that name.

    Examples:
        >>> @host("plain-of-the-docs")
        ... class PlainHost:
        ...     family, supported = "plain ViT", "PlainViT"
        ...
        ...     @staticmethod
        ...     def recognises(model):
        ...         return type(model).__name__ == "PlainViT"
        >>> HOSTS["plain-of-the-docs"].family
        'plain ViT'
    """

    def keep(cls: H) -> H:
        HOSTS.add(name, cls, cls)
        return cls

    return keep


_NO_HOSTS: dict[type, str] = {}


def no_host(kinds: Iterable[type], why: str) -> None:
    """Say why models of these classes are none, and what it would take: "<model> is a <class>, which <why>"."""
    _NO_HOSTS.update(dict.fromkeys(kinds, why))


def name_of(model: object) -> str:
    """The registered timm name of a model, or its class."""
    cfg = getattr(model, "pretrained_cfg", None) or {}
    return str(cfg.get("architecture") or type(model).__name__)


def host_of(model: nn.Module) -> Host:
    """The host that understands a model.

    Raises:
        BadInput: none does; it is refused by name, with what is supported.
    """
    for kind in HOSTS.values():
        if kind.recognises(model):
            return kind(model)
    families = ", ".join(kind.family for kind in HOSTS.values())
    why = _NO_HOSTS.get(type(model), "tokenlens does not understand")
    raise BadInput(
        f"{name_of(model)} is a {type(model).__name__}, which {why}; `tokenlens models` lists what can be reduced "
        f"({families})"
    )
