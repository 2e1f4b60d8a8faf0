"""Put a method into a denoiser's blocks: tokens are merged before a layer and spread after it.

As in JoakimHaurum/ATC@227c94b, SD_setup: in each block of full resolution one pattern is decided from the block's
input, anew at every step and for each latent by itself. A layer then sees the merged tokens, and every token adds what
its merged one got to the residual, which stays full. It is done by torch's own hooks, so every norm of diffusers'
blocks is served, and nothing is copied or patched.

Shapes: B latents, which are [unconditional, conditional] under guidance; N tokens of a block, P of the finest grid.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core.attention import QKV, Attended
from ..core.plan import Plan, positions
from ..core.random import content_hashes, keys
from ..core.reducer import Reducer, Stage
from ..core.trace import Trace
from ..errors import BadInput
from ..extraction.batch import canonical
from ..methods import Method
from .denoiser import blocks_of, coarsened, finest_grid, on_finest
from .view import LatentView

Arrays = dict[str, NDArray[Any]]
MOST_PATCHES = 2**15 - 1  # that the schema's int16 numbers


class Site:
    """One transformer block, and what is decided there at a step."""

    def __init__(self, number: int, name: str, block: Any, layers: Collection[str]) -> None:
        self.number, self.name, self.block, self.layers = number, name, block, layers
        self.x: Tensor | None = None
        """(B, N, C) the block's input, while it runs"""
        self.plan: Plan | None = None
        self.reducer: Any = None  # a Reducer, once there is a stage


class ReducedDenoiser:
    """A method in a denoiser, until `remove`, or until the end of a `with`.

    Examples:
        >>> import tokenlens
        >>> from tokenlens.synthesis.nano import nano_pipeline
        >>> from tokenlens.weights import nano_path
        >>> pipe = nano_pipeline(nano_path("nano-diffusion"))
        >>> with tokenlens.reduce(pipe, "atc-average", ratio=0.5, record_steps=None) as reduced:
        ...     pictures = pipe("a striped disc", num_inference_steps=2).images
        >>> reduced.take(images=1)["group"].shape
        (1, 2, 2, 3, 784)
    """

    def __init__(
        self,
        denoiser: nn.Module,
        method: Method,
        options: Mapping[str, Any],
        ratio: float,
        max_downsample: int,
        layers: Collection[str],
        seed: int,
        record_steps: Collection[int] | None,
    ) -> None:
        """See `reduce.reduce_denoiser`; `layers` are those of attn1, attn2 and ff around which tokens are merged."""
        self.denoiser, self.method, self.options = denoiser, method, dict(options)
        self.ratio, self.max_downsample, self.layers, self.seed = ratio, max_downsample, tuple(layers), seed
        self.record_steps = record_steps
        self.generator: torch.Generator | None = None
        """what ToMe-SD draws from, where the published draws are wanted"""
        self.seconds = 0.0
        """spent on deciding, on a CPU; on a GPU, on telling it what to decide"""
        self.sites = [Site(*numbered, block, layers) for numbered, block in _numbered(denoiser)]
        self.step: int
        """the call of the denoiser, from 0"""
        self._steps: list[int]
        self._recorded: list[dict[int, Trace]]
        self.restart()
        self._factors: dict[int, int] = {}
        self._handles = [denoiser.register_forward_pre_hook(self._begin, with_kwargs=True)]
        for site in self.sites:
            self._handles += [
                site.block.register_forward_pre_hook(_bound(self._enter, site), with_kwargs=True),
                site.block.register_forward_hook(_bound(self._leave, site)),
                site.block.attn1.register_forward_pre_hook(_bound(self._decide, site), with_kwargs=True),
            ]
            for name in layers:
                layer = getattr(site.block, name, None)
                if layer is not None:  # a block without cross-attention has no attn2
                    self._handles += [
                        layer.register_forward_pre_hook(_bound(self._merge, site), with_kwargs=True),
                        layer.register_forward_hook(_bound(self._spread, site)),
                    ]

    @property
    def numbers(self) -> list[int]:
        """The blocks that were reduced at the last step that was recorded, in the order in which they run."""
        return list(self._factors)

    def remove(self) -> None:
        """Take the method out again; the denoiser is as before."""
        for handle in self._handles:
            handle.remove()

    def restart(self) -> None:
        """Forget what was recorded: the next call of the denoiser is step 0."""
        self.step, self._steps, self._recorded = -1, [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def take(self, images: int) -> Arrays:
        """What was recorded since the last call, of pictures that were made together.

        Args:
            images: how many pictures were made.

        Returns:
            `kept` (images, steps, branches, stages, P) bool; `group` (...) int16, numbered by first occurrence, -1
            where dropped; `tokens_left` (images, steps, branches, stages) int16. A stage is a reduced block.

        Raises:
            BadInput: nothing was recorded, or not for so many pictures.
        """
        steps = self._recorded
        self.restart()
        if not steps or not steps[0]:
            raise BadInput(
                "no step was recorded; name steps with record_steps, below the number that the pipeline makes"
            )
        latents = len(next(iter(steps[0].values())).patch)
        if latents % images:
            raise BadInput(f"{latents} latents went through the denoiser, which are not those of {images} pictures")
        finest = self.finest

        def gathered(part: Callable[[Trace], Tensor]) -> NDArray[Any]:
            found = torch.stack(
                [
                    torch.stack(
                        [on_finest(part(trace)[:, 0], self._factors[n], finest) for n, trace in step.items()], 1
                    )
                    for step in steps
                ]
            )  # steps, B, stages, ...
            found = found.unflatten(1, (latents // images, images)).movedim(2, 0)
            return found.cpu().numpy()  # type: ignore[no-any-return]

        return {
            "kept": gathered(lambda trace: trace.kept),
            "group": gathered(lambda trace: canonical(trace.group)),
            "tokens_left": gathered(lambda trace: trace.tokens_left),
        }

    def _begin(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A step begins: see the latents."""
        sample = args[0] if args else next(kwargs[name] for name in ("sample", "hidden_states") if name in kwargs)
        self._sample, self.finest = sample, finest_grid(self.denoiser, sample)
        self._contents: Tensor | None = None
        self.step += 1
        if self.record_steps is None or self.step in self.record_steps:
            if self.finest[0] * self.finest[1] > MOST_PATCHES:
                raise BadInput(f"{self.finest[0]} x {self.finest[1]} latents are more than {MOST_PATCHES}, the most "
                               "that are recorded; make smaller pictures, or record no steps")  # fmt: skip
            self._steps.append(self.step)
            self._recorded.append({})

    def _enter(self, site: Site, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        site.x, site.plan = (args[0] if args else kwargs["hidden_states"]), None

    def _leave(self, site: Site, *_: Any) -> None:
        site.x = site.plan = None

    def _decide(self, site: Site, attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Decide a block's pattern, once, before its self-attention, which a method may read."""
        x = site.x
        assert x is not None
        count = x.shape[1]
        factor, grid = coarsened(self.finest, count)
        if factor > self.max_downsample:
            return
        if kwargs.get("attention_mask") is not None or getattr(site.block, "_chunk_size", None) is not None:
            raise BadInput(
                f"{site.name} is run with an attention mask over its tokens or in chunks, which merged tokens do not "
                "fit; run the pipeline without"
            )
        began = time.perf_counter()
        keep = count - int(count * self.ratio)
        if keep < count:
            if keep < 2:
                raise BadInput(
                    f"ratio {self.ratio:g} leaves {keep} of the {count} tokens of {site.name}, and a pattern needs 2; "
                    "give a smaller ratio"
                )
            given = args[0] if args else kwargs["hidden_states"]
            with torch.autocast(x.device.type, enabled=False):
                site.plan = self._reducer(site, count, keep, grid)(self._view(site, x, given, keep, grid))
        self.seconds += time.perf_counter() - began
        if self._steps and self._steps[-1] == self.step:
            trace = Trace(len(x), x.shape[1], x.device)
            trace.add(site.number, site.plan)
            self._recorded[-1][site.number], self._factors[site.number] = trace, factor

    def _view(self, site: Site, x: Tensor, normed: Tensor, keep: int, grid: tuple[int, int]) -> LatentView:
        def project() -> QKV:
            attention: Any = site.block.attn1
            if getattr(site.block, "only_cross_attention", False):
                raise BadInput(f"{self.method.name} reads self-attention, which {site.name} does not have")
            parts = (attention.to_q(normed), attention.to_k(normed), attention.to_v(normed))
            queries, keys, values = (part.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for part in parts)
            return QKV(queries, keys, values, attention.scale)

        return LatentView(
            x=x,
            patch=positions(len(x), x.shape[1], x.device),
            mass=None,
            grid=grid,
            keep=keep,
            planned=x.shape[1],
            prefix=0,
            attended=Attended(project, None, 0),
            seeds=lambda: self._seeds(site.number),
        )

    def _reducer(self, site: Site, count: int, keep: int, grid: tuple[int, int]) -> Reducer:
        if site.reducer is None or site.reducer.stage.grid != grid:
            stage = Stage(0, site.number, keep, count, site.block.attn1.to_q.in_features, grid)
            site.reducer = self.method.build(stage, self.options).to(self._sample.device)
        if self.generator is not None:
            site.reducer.generator = self.generator
        return site.reducer

    def _seeds(self, number: int) -> Tensor:
        """(B,) int64: from the latents as they are at this step, so both branches of a picture draw alike."""
        if self._contents is None:
            self._contents = content_hashes(self._sample)
        return keys(self._contents, self.seed, number)

    def _merge(self, site: Site, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if site.plan is None:
            return None
        if args:
            return (site.plan.carry(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": site.plan.carry(kwargs["hidden_states"])}

    def _spread(self, site: Site, _: nn.Module, __: Any, output: Tensor) -> Tensor:
        return output if site.plan is None else site.plan.spread(output)


def _numbered(denoiser: nn.Module) -> list[tuple[tuple[int, str], nn.Module]]:
    return [((number, name), block) for number, (name, block) in enumerate(blocks_of(denoiser).items())]


def _bound(hook: Callable[..., Any], site: Site) -> Callable[..., Any]:
    return lambda *given: hook(site, *given)
