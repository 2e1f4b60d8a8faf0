"""What `tokenlens bench` found of a setting: the rows of its table, and lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .ways import Pass, Way


def rows(passes: Sequence[Pass], taken: NDArray[Any], setting: dict[str, Any]) -> pd.DataFrame:
    """The rows of one setting.

    Args:
        passes: first that of the un-reduced model; speed-ups are over it, in the same way.
        taken: (rounds, passes and then ideals) seconds.
        setting: what they have in common.
    """
    whole = {one.way: taken[:, place] for place, one in enumerate(passes) if one.side is passes[0].side}
    found = []
    for place, one in enumerate(passes):
        took = taken[:, place]
        base = whole.get(one.way, np.full_like(took, np.nan))
        low, middle, high = np.quantile(setting["batch_size"] / took, [0.25, 0.5, 0.75])
        found.append({
            **setting, **one.way._asdict(), "method": one.side.method, "keep_rate": one.side.keep_rate,
            "repeats": len(took), "images_per_second": middle, "low": low, "high": high,
            "latency_ms": 1000 * np.median(took), "peak_mb": one.peak_mb, "gflops": one.side.gflops,
            "speedup": np.median(base / took), "ideal_speedup": passes[0].side.gflops / one.side.gflops,
            "practical_speedup": np.nan if one.ideal is None else np.median(base / taken[:, len(passes) + one.ideal]),
            "deciding": one.deciding, "enqueue_ms": one.enqueue_ms, "gpu_ms": one.gpu_ms,
            "tokens_left": one.side.tokens_left,
        })  # fmt: skip
    return pd.DataFrame(found)


def lines(frame: pd.DataFrame) -> Iterator[str]:
    """One setting for a person to read."""
    one, gpu = frame.iloc[0], bool(frame["gpu_ms"].notna().any())
    yield (
        f"{one['model']}, batch {one['batch_size']}, {one['precision']}, {one['device']}, {one['threads']} thread(s), "
        f"{one['data']} images, {one['machine']}; median of {one['repeats']}, quartiles in brackets; practical: the "
        "host's own blocks at as many tokens; deciding: the reducers' share"
    )
    times = f"{'enqueue':>9}{'GPU':>9}" * gpu
    yield (
        f"{'method':16}{'rate':>6}{'way':>10}{'images/s':>28}{'ms':>10}{times}{'MB':>9}"
        f"{'GFLOPs':>9}{'speed-up':>10}{'ideal':>7}{'practical':>11}{'deciding':>10}  tokens left"
    )
    for row in frame.to_dict("records"):
        spread = f"{row['images_per_second']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
        times = f"{row['enqueue_ms']:>9.2f}{row['gpu_ms']:>9.2f}" * gpu
        yield (
            f"{row['method']:16}{_told(row['keep_rate'], 'g'):>6}{Way(row['compiled'], row['graph'])!s:>10}{spread:>28}"
            f"{row['latency_ms']:>10.2f}{times}{row['peak_mb']:>9.1f}{row['gflops']:>9.3f}{row['speedup']:>10.2f}"
            f"{row['ideal_speedup']:>7.2f}{_told(row['practical_speedup'], '.2f'):>11}"
            f"{_told(row['deciding'], '.1%'):>10}  {row['tokens_left']}"
        )


def _told(number: float, how: str) -> str:
    return "-" if np.isnan(number) else format(number, how)
