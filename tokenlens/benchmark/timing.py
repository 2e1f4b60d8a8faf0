"""What speed is measured on and with: a note on the machine, a clock, the memory of a call."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

if TYPE_CHECKING:
    import pandas as pd


def machine_note(device: torch.device) -> str:
    """Processor, cores and version of torch in one line; for CUDA the GPU beside them."""
    names = [torch.cuda.get_device_name(device)] if device.type == "cuda" else []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join([*names, _processor(), f"{cores} cores", f"torch {torch.__version__}"])


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()


def seconds(call: Callable[[], Any], device: torch.device) -> float:
    """How long a call takes, with all that it left to the GPU."""
    wait(device)
    began = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - began


def enqueued(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds until a call has left to the GPU all that it has for it."""
    wait(device)
    began = time.perf_counter()
    call()
    took = time.perf_counter() - began
    wait(device)
    return took


def on_gpu(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds that the GPU is at work in a call: kernels and copies, as torch's profiler sees them."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        call()
        wait(device)
    kernels = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return sum(event.time_range.elapsed_us() for event in kernels) / 1e6


class Stopwatch:
    """How long some modules have worked, since `seconds` was last set to 0."""

    def __init__(self, modules: Iterable[nn.Module], device: torch.device) -> None:
        self.seconds, self._began, self._device = 0.0, 0.0, device
        self._hooks = []
        for module in modules:
            self._hooks += [
                module.register_forward_pre_hook(self._start), module.register_forward_hook(self._stop)
            ]  # fmt: skip

    def leave(self) -> None:
        """Let the modules go."""
        for hook in self._hooks:
            hook.remove()

    def _start(self, *_: Any) -> None:
        wait(self._device)
        self._began = time.perf_counter()

    def _stop(self, *_: Any) -> None:
        wait(self._device)
        self.seconds += time.perf_counter() - self._began


def taking_turns(
    calls: Sequence[Callable[[Any], Any]], inputs: Sequence[Any], rounds: int, device: torch.device
) -> Iterator[list[float]]:
    """Seconds of each call, round by round; each round has another input, and begins with another call."""
    for turn in range(rounds):
        given, row = inputs[turn % len(inputs)], [0.0] * len(calls)
        for place in range(len(calls)):
            which = (turn + place) % len(calls)
            row[which] = seconds(partial(calls[which], given), device)
        yield row


def measured(
    calls: Sequence[Callable[[int], float]], repeats: int, warmup: int, device: torch.device, progress: bool,
    keep: Callable[[NDArray[Any], NDArray[Any]], pd.DataFrame],
) -> pd.DataFrame:  # fmt: skip
    """Let calls take turns, and hand on how long they took, also of the rounds before it was stopped.

    Args:
        calls: each takes the number of the round, and tells how many of its seconds went into deciding what merges.
        repeats: rounds that count.
        warmup: rounds before those.
        device: what the calls compute on.
        progress: show a bar.
        keep: takes the seconds and what was told, (rounds, calls) each.

    Returns:
        What `keep` made of them.
    """
    told: list[list[float]] = [[] for _ in calls]

    def listen(which: int, turn: int) -> None:
        told[which].append(calls[which](turn))

    heard = [partial(listen, which) for which in range(len(calls))]
    for call in heard * warmup:
        call(0)
    for one in told:
        one.clear()
    taken: list[list[float]] = []
    turns = taking_turns(heard, range(repeats), repeats, device)
    try:
        for row in tqdm(turns, total=repeats, unit="round", disable=not progress, leave=False):
            taken.append(row)
    finally:
        if taken:
            frame = keep(np.array(taken), np.array([one[: len(taken)] for one in told]).T)
    return frame


def peak_megabytes(call: Callable[[], Any], device: torch.device) -> float:
    """The most memory (10^6 bytes) that the tensors of a call hold at once, beyond what was held before.

    On CUDA as torch's allocator says (`max_memory_allocated`); on CPU the allocations that torch's profiler sees, which
    leave out what NumPy and compiled clustering take for themselves.
    """
    if device.type == "cuda":
        wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        wait(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler tells when it starts and stops
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 1e6


def wait(device: torch.device) -> None:
    """Until the GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
