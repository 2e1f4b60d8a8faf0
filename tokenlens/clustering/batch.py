"""Agglomerative clustering of many images at once: the partitions of scikit-learn's loop, without the loop.

Agglomerative Token Clustering (Haurum et al., ECCV 2024, arXiv:2409.11923) clusters the tokens of each image bottom-up
under cosine distance. Held against AgglomerativeClustering(metric="precomputed") as called in
github.com/JoakimHaurum/ATC/blob/227c94b584df323b94dd79e8ddbb88b1587eeb8e/ATC_setup/models/atc.py.

Shapes: B images, N tokens, D channels, K clusters.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BadInput
from . import device, host

Linkage = Literal["single", "complete", "average"]
Metric = Literal["cosine", "precomputed"]
Batch = TypeVar("Batch", NDArray[Any], Tensor)


def agglomerative(
    x: Batch,
    n_clusters: "int | Sequence[int] | NDArray[np.integer] | Tensor",
    linkage: Linkage = "average",
    metric: Metric = "cosine",
    *,
    check: bool = True,
) -> Batch:
    """Cluster the tokens of each image down to exactly so many clusters.

    On the CPU it is compiled and runs on as many threads as torch and numba both allow (torch.set_num_threads,
    NUMBA_NUM_THREADS); a tensor elsewhere is clustered where it is (see `device`). Neither the batch nor the number of
    threads changes the result.

    Ties fall as in SciPy (scipy.cluster.hierarchy.linkage), and so as in scikit-learn, on the CPU and in the Triton
    kernels. The torch fallback may cut elsewhere between merges of equal height under complete and average linkage.

    Args:
        x: (B, N, D) features, or (B, N, N) distances, of which those above the diagonal are read. A numpy array or a
            torch tensor of float32 or float64, computed in that type (means of distances in float64, as in SciPy);
            float16 and bfloat16 are taken as float32, in which distances repeat less often.
        n_clusters: K, from 1 to N; one for all images or one for each.
        linkage: how far apart two clusters are: the least ("single"), greatest ("complete") or mean ("average")
            distance of their tokens.
        metric: "cosine" (1 - cos; a token of length 0 is 1 away from any other) or "precomputed".
        check: on a device other than the CPU, look whether x is finite, which waits for the device; without, what is
            not finite is taken as by torch.nan_to_num. On the CPU it costs nothing and is always done.

    Returns:
        (B, N) int64 of the kind of x: the cluster of each token, numbered by first member from 0 to K - 1.

    Raises:
        BadInput: shape, type, linkage, metric or K cannot be used, or x is not finite.
    """
    values = _tensor(x)
    _check(values, linkage, metric)
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    images, tokens = values.shape[:2]
    merges = tokens - _counts(n_clusters, images, tokens)
    if values.device.type == "cpu":
        found, finite = host.cluster(values.contiguous().numpy(), merges, linkage, metric == "precomputed")
        labels = torch.from_numpy(found)
    else:
        finite = not check or bool(values.isfinite().all())
        values = values if check else values.nan_to_num()
        labels = device.cluster(values, _placed(merges, values.device), linkage, metric == "precomputed")
    if not finite:
        raise BadInput(
            f"{'distances' if metric == 'precomputed' else 'features'} hold values that are not finite, or overflow "
            "when squared; look for them upstream"
        )
    return labels if isinstance(x, Tensor) else labels.numpy()


def _placed(merges: NDArray[np.int64], device: torch.device) -> Tensor:
    """(B,) on a device: one number for all is filled in there, others are copied."""
    if len(merges) and (merges == merges[0]).all():
        return torch.full(merges.shape, int(merges[0]), device=device)
    return torch.from_numpy(merges).to(device, non_blocking=True)


def _tensor(x: Any) -> Tensor:
    """Of what was given; BadInput where torch knows no such array."""
    try:
        if isinstance(x, np.ndarray):
            # torch takes neither steps backwards nor foreign byte orders, and warns of read-only memory
            x = np.require(x, x.dtype.newbyteorder("="), ["C", "W"])
        return torch.as_tensor(x).detach().resolve_neg()
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise BadInput(f"x cannot be taken as a dense tensor ({reason}); convert it to an array of float32") from error


def _check(x: Tensor, linkage: str, metric: str) -> None:
    for kind, word, known in (("linkage", linkage, get_args(Linkage)), ("metric", metric, get_args(Metric))):
        if word not in known:
            raise BadInput(f"{word!r} is not a {kind} that is known; choose one of {', '.join(known)}")
    wanted = "(images, tokens, tokens)" if metric == "precomputed" else "(images, tokens, channels)"
    if x.dim() != 3:
        raise BadInput(f"x has shape {tuple(x.shape)} and not {wanted}; add the missing axis")
    if metric == "precomputed" and x.shape[1] != x.shape[2]:
        raise BadInput(f"distances have shape {tuple(x.shape)} and not {wanted}; features go with metric='cosine'")
    if not x.dtype.is_floating_point or x.itemsize < 2 or x.layout != torch.strided:
        raise BadInput(f"x holds {x.dtype} ({x.layout}) and not dense floating-point numbers; convert it to float32")


def _counts(n_clusters: Any, images: int, tokens: int) -> NDArray[np.int64]:
    """K of each image, (B,)."""
    try:
        asked = n_clusters.cpu().numpy() if isinstance(n_clusters, Tensor) else np.asarray(n_clusters)
    except ValueError as error:  # lists of unequal lengths
        raise BadInput(f"n_clusters is {n_clusters!r}; give one integer, or one for each of {images} images") from error
    if asked.shape == (0,) == (images,):
        return np.zeros(0, np.int64)
    if asked.dtype.kind not in "iu" or asked.shape not in ((), (images,)):
        raise BadInput(
            f"n_clusters is {asked.dtype} of shape {asked.shape}; give one integer, or one for each of {images} images"
        )
    for count in (asked.min(), asked.max()) if asked.size else ():
        if not 1 <= count <= tokens:
            raise BadInput(f"{tokens} tokens cannot form {count} clusters; ask for 1 to {tokens}")
    return np.broadcast_to(asked, (images,)).astype(np.int64)
