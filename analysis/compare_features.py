"""Compare class-token features of two runs, layer by layer, from sums that are streamed over the images.

Shapes: m images of a chunk, n images in all, F and G features of run a and b.
Intervals are analytic: the measures are smooth functions of the sums, so the standard error is the root mean square
of each image's influence over sqrt(n) (the infinitesimal jackknife; Efron & Tibshirani, 1993, 21), and the interval
is value +- 1.96 of it. The weights of PWCCA are taken as fixed there. Chance is exact for CKA and mean squared CCA
(images of b shuffled, closed form); for the others it is one seeded shuffle of the images within each chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .chunked_reader import Images, Reader, fitting
from .metrics.features import NAMES, Gram, whitening
from .pairing import Pair

Array = NDArray[Any]
SUMS_AT_ONCE = 256 * 2**20  # bytes of sums held at once: pairs beyond it wait for another reading


@dataclass
class Side:
    """Sums of one run's features at one layer: shift (F,), total (F,), products (F, F)."""

    shift: Array
    total: Array
    products: Array


@dataclass
class Cross:
    """Sums of one pair at one layer; after the first reading `gram` and what the influence of an image needs."""

    pair: Pair
    layer: int
    products: Array
    shuffled: Array
    gram: Gram | None = None
    parts: dict[str, Array] = field(default_factory=dict)
    squares: Array = field(default_factory=lambda: np.zeros(len(NAMES)))

    @property
    def sides(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Keys of both runs' sums."""
        return (self.pair.a, self.layer), (self.pair.b, self.layer)


def walk(
    pairs: Iterable[Pair],
    runs: Mapping[str, xr.Dataset],
    images: Images,
    ids: Mapping[str, Array],
    *,
    metrics: Sequence[str],
    chunk: int,
    workers: int,
    seed: int,
    tick: Callable[[int], object],
) -> list[dict[str, Any]]:
    """Read the images twice per batch of pairs, for the measures and for their errors, and return rows of the table."""
    rows: list[dict[str, Any]] = []
    for batch in _batches(pairs, runs):
        names = list(dict.fromkeys(run for one in batch for run, _ in one.sides))
        used = {name: runs[name] for name in names}
        wanted = [(name, "feature") for name in names]
        layers = {name: {int(v): i for i, v in enumerate(run["layer"].values)} for name, run in used.items()}
        size = fitting(chunk, list(used.values()), ["feature"] * 3)
        sides: dict[tuple[str, int], Side] = {}
        random = np.random.default_rng([seed, int(images.key, 16)])
        with Reader(used, images, ids, size) as reader, ThreadPoolExecutor(workers) as pool:
            for reading in (_sum, _influence):
                for span in reader.spans():
                    arrays = reader.read(wanted, span, pool)
                    x = {key: arrays[key[0], "feature"][:, layers[key[0]][key[1]]].astype(np.float32)
                         for one in batch for key in one.sides}  # fmt: skip
                    if reading is _sum:
                        _add(sides, x)
                    x = {key: value - sides[key].shift for key, value in x.items()}
                    order = random.permutation(span[1] - span[0])
                    list(
                        pool.map(
                            lambda one, r=reading, y=x, o=order: r(one, y[one.sides[0]], y[one.sides[1]], o), batch
                        )
                    )
                    tick(span[1] - span[0])
                if reading is _sum:
                    list(pool.map(lambda one, s=sides: _finish(one, s, len(images)), batch))
        rows += [row for one in batch for row in _rows(one, sides, len(images), metrics)]
    return rows


def _batches(pairs: Iterable[Pair], runs: Mapping[str, xr.Dataset]) -> list[list[Cross]]:
    batches: list[list[Cross]] = []
    held = SUMS_AT_ONCE
    for pair in pairs:
        a, b = (runs[name]["feature"] for name in (pair.a, pair.b))
        for layer in (int(v) for v in a["layer"].values if v in b["layer"].values):
            shape = (a.sizes["channel"], b.sizes["channel"])
            cost = 8 * 8 * shape[0] * shape[1]
            if held + cost > SUMS_AT_ONCE:
                batches.append([])
                held = 0
            batches[-1].append(Cross(pair, layer, np.zeros(shape), np.zeros(shape)))
            held += cost
    return batches


def _add(sides: dict[tuple[str, int], Side], x: Mapping[tuple[str, int], Array]) -> None:
    for key, value in x.items():
        if key not in sides:  # near the mean, so that float32 products lose nothing to a large offset
            width = value.shape[1]
            sides[key] = Side(value.mean(axis=0), np.zeros(width), np.zeros((width, width)))
        near = value - sides[key].shift
        sides[key].total += near.sum(axis=0, dtype=np.float64)
        sides[key].products += near.T @ near


def _sum(one: Cross, a: Array, b: Array, order: Array) -> None:
    one.products += a.T @ b
    one.shuffled += a.T @ b[order]


def _finish(one: Cross, sides: Mapping[tuple[str, int], Side], n: int) -> None:
    """Centre the sums, and prepare what turns a chunk of features into influences."""
    a, b = (sides[key] for key in one.sides)
    gram = Gram(a.products - np.outer(a.total, a.total) / n, b.products - np.outer(b.total, b.total) / n,
                one.products - np.outer(a.total, b.total) / n)  # fmt: skip
    one.shuffled -= np.outer(a.total, b.total) / n
    one.gram = gram
    scaled = Gram(gram.aa / n, gram.bb / n, gram.ab / n)
    u, nuclear, v = np.linalg.svd(scaled.ab, full_matrices=False)
    (white_a, _), (white_b, _) = whitening(scaled.aa), whitening(scaled.bb)
    left, rho, right = np.linalg.svd(white_a @ scaled.ab @ white_b, full_matrices=False)
    one.parts = {
        "mean_a": a.total / n, "mean_b": b.total / n, "aa": scaled.aa, "bb": scaled.bb, "ab": scaled.ab,
        "rotation": u @ v, "nuclear": np.array(nuclear.sum()), "to_a": white_a @ left, "to_b": white_b @ right.T,
        "rho": np.minimum(rho, 1), "weight_a": gram.weights(), "weight_b": gram.weights(reverse=True),
    }  # fmt: skip


def _influence(one: Cross, a: Array, b: Array, order: Array) -> None:
    """Add the squared influence of each image on each measure."""
    p = one.parts
    a, b = a - p["mean_a"].astype(np.float32), b - p["mean_b"].astype(np.float32)
    norm_a, norm_b, norm_ab = ((p[k] ** 2).sum() for k in ("aa", "bb", "ab"))
    trace_a, trace_b = np.trace(p["aa"]), np.trace(p["bb"])
    if not (trace_a > 0 and trace_b > 0):
        return
    inner = _quadratic(a, p["rotation"], b)
    share = p["nuclear"] / np.sqrt(trace_a * trace_b)
    size_a, size_b = (np.einsum("ij,ij->i", x, x, dtype=np.float64) for x in (a, b))
    procrustes = -2 * (inner / np.sqrt(trace_a * trace_b) - share / 2 * (size_a / trace_a + size_b / trace_b))
    root = np.sqrt(norm_a * norm_b)
    alike = norm_ab / root
    cka = -(2 * _quadratic(a, p["ab"], b) / root - alike * (
        _quadratic(a, p["aa"], a) / norm_a + _quadratic(b, p["bb"], b) / norm_b))  # fmt: skip
    left, right = (x @ p[k].astype(np.float32) for x, k in ((a, "to_a"), (b, "to_b")))
    each = left * right - p["rho"].astype(np.float32) / 2 * (left**2 + right**2)
    width = len(p["rho"])
    mixes = np.stack([-p["weight_a"], -p["weight_b"], np.full(width, 1 / width), 2 * p["rho"] / width], axis=1)
    values = np.column_stack([procrustes, cka, each @ mixes])
    one.squares += (values.astype(np.float64) ** 2).sum(axis=0)


def _quadratic(a: Array, matrix: Array, b: Array) -> Array:
    return np.asarray(np.einsum("ij,ij->i", a @ matrix.astype(np.float32), b, dtype=np.float64))


def _measures(gram: Gram) -> dict[str, float]:
    return {name: float(value) for name, value in gram.measures().items()}


def _rows(one: Cross, sides: Mapping[tuple[str, int], Side], n: int, metrics: Sequence[str]) -> list[dict[str, Any]]:
    assert one.gram is not None
    values = _measures(one.gram)
    chance = _measures(Gram(one.gram.aa, one.gram.bb, one.shuffled))
    scaled = one.gram.scaled()
    norms = np.linalg.norm(scaled.aa) * np.linalg.norm(scaled.bb)
    full = [np.linalg.matrix_rank(x, hermitian=True) for x in (scaled.aa, scaled.bb)]
    if n > 1 and norms > 0:
        chance["cka"] = 1 - 1 / ((n - 1) * float(norms))
        chance["mean_squared_cca"] = min(1.0, full[0] * full[1] / (n - 1) / min(one.gram.ab.shape))
    error = dict(zip(NAMES, np.sqrt(one.squares) / n, strict=True))
    return [
        {"run_a": one.pair.a, "run_b": one.pair.b, "axis": one.pair.axis, "stage": one.layer, "metric": name,
         "value": values[name], "std": np.nan, "n": n, "chance": chance[name],
         "low": values[name] - 1.96 * error[name], "high": values[name] + 1.96 * error[name]}
        for name in NAMES if name in metrics
    ]  # fmt: skip
