"""The reduced models that a user asks for: every method at every rate, on one host."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from ..core.reduced_vit import ReducedViT
from ..core.schedule import STUDY_BLOCKS
from ..errors import BadInput, UnknownName
from ..hosts.header import finetuned
from ..methods import expanded, method
from ..reduce import reduce
from .pretrained import Pretrained, open_host

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass
class Reductions:
    """Which methods at which rates and blocks were asked for; what is None or empty is as weights were trained."""

    methods: Sequence[str] | None = None
    keep_rates: Sequence[float | list[float]] = ()
    blocks: Sequence[int] | None = None
    options: Sequence[str] = ()

    def filled(self, reduction: Mapping[str, Any]) -> Self:
        """Without gaps, as `reduction` in a checkpoint's header says it; its options go with its method alone."""
        methods = [reduction["method"]] if self.methods is None else self.methods
        options = self.options
        if not options and list(methods) == [reduction["method"]]:
            options = [f"{name}={value}" for name, value in reduction.get("options", {}).items()]
        return replace(
            self,
            methods=methods,
            options=options,
            keep_rates=self.keep_rates or [reduction["keep_rate"]],
            blocks=reduction["blocks"] if self.blocks is None else self.blocks,
        )


@dataclass
class Models(Reductions):
    """What was asked for; the fields are the options that the commands share.

    What is None is as a checkpoint of ours in `weights` was trained, or else a default.
    """

    keep: Sequence[int] | None = None
    remove: int | Sequence[int] | None = None
    decreasing: bool = False
    model: str | None = None
    weights: str | None = None
    heads: int | None = None
    img_size: int | None = None
    device: str = "auto"
    seed: int = 0
    tell: Callable[[str], None] = print
    """where to say what is noticed before anything is done"""

    def completed(self) -> Self:
        """Without gaps."""
        trained = finetuned(self.weights) or {}
        reduction = trained.get("reduction", {"method": "topk", "keep_rate": 0.5, "blocks": STUDY_BLOCKS})
        counted = self.keep is not None or self.remove is not None
        found = self.filled(reduction)
        return replace(
            found,
            keep_rates=self.keep_rates if counted else found.keep_rates,
            blocks=self.blocks if self.remove is not None else found.blocks,
        )

    def planned(self) -> list[tuple[str, dict[str, Any]]]:
        """Each method with how many tokens remain, in the words of `reduce`; refuses what no host could make good."""
        if not self.methods:
            raise BadInput("no method is given; name one or more with --method, `tokenlens methods` lists them")
        amounts = self._amounts()
        named = expanded(self.methods)
        for name in named:
            method(name).parse(self.options)
        pairs = [(name, amount) for name in named for amount in amounts]
        return [pair for index, pair in enumerate(pairs) if pair not in pairs[:index]]  # said twice is meant once

    def _amounts(self) -> list[dict[str, Any]]:
        ways = [bool(self.keep_rates), self.keep is not None, self.remove is not None]
        if sum(ways) > 1:
            raise BadInput("give one of --keep-rate, --keep and --remove: each says how many tokens remain")
        if self.remove is not None and self.blocks is not None:
            raise BadInput("--remove takes tokens away at every block, so --blocks does not go with it; leave one out")
        if self.decreasing and self.remove is None:
            raise BadInput("--decreasing goes with --remove: it says how the removals are spread over the blocks")
        if self.keep is not None:
            return [{"keep": list(self.keep)}]
        if self.remove is not None:
            counts = [self.remove] if isinstance(self.remove, int) else self.remove
            return [{"remove": count, "decreasing": self.decreasing} for count in counts]
        return [{"keep_rate": rate} for rate in self.keep_rates]

    def host(self, classes: int = 1000) -> Pretrained:
        """The model that all of them are made of; `classes` of an untrained one."""
        host = open_host(self.model, self.weights, self.heads, classes, self.seed, self.img_size)
        if host.origin:
            self.tell(host.origin)
        return host

    def built(
        self, host: Pretrained, planned: Sequence[tuple[str, dict[str, Any]]]
    ) -> list[tuple[str, dict[str, Any], ReducedViT]]:
        """The models of what was planned, in eval mode.

        A method that was not asked for by its own name, and cannot be had on this host, is told and left out.
        """
        by_name = expanded(self.methods or ())
        made, lacking = [], dict[str, BadInput]()
        for name, amount in planned:
            try:
                made.append((name, amount, self.build(host, name, amount).eval()))
            except BadInput as lack:
                if by_name[name]:
                    raise
                lacking.setdefault(name, lack)
        if lacking and not made:
            raise next(iter(lacking.values()))
        if lacking:
            first, why = next(iter(lacking.items()))
            warnings.warn(f"left out: {', '.join(lacking)}; of {first}: {why}", stacklevel=2)
        return made

    def build(self, host: Pretrained, name: str, amount: dict[str, Any]) -> ReducedViT:
        """One of what was planned; the host's weights are in memory once, however many are built."""
        options = method(name).parse(self.options)
        torch.manual_seed(self.seed)  # for learned reducers that stay untrained, with --weights random
        model = reduce(host.vit, name, blocks=self.blocks or STUDY_BLOCKS, seed=self.seed, **amount, **options)
        for own, given in zip(model.vit.parameters(), host.vit.parameters(), strict=True):
            own.data = given.data
        host.equip(model, name)
        return model


def device_of(name: str) -> torch.device:
    """The device that a user means by auto, cpu or cuda."""
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("no CUDA device is to be had here; use --device cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def precision_on(device: torch.device, name: str) -> str:
    """The precision that a user means by auto: on CPU bfloat16 is several times slower than float32."""
    if name not in PRECISIONS:
        raise UnknownName("precision", name, PRECISIONS)
    return name if name != "auto" else "bfloat16" if device.type == "cuda" else "float32"
