"""Parts of a softmax, one program for each image and head: its keys lie in registers, and no product is written.

Shapes: as in `attention`.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = 32  # queries at a time


def first_row(queries: Tensor, keys: Tensor, mass: Tensor | None, scale: float) -> Tensor:
    """As `attention.first_row`."""
    return _launched(_first, queries, keys, mass, scale, {})


def received(queries: Tensor, keys: Tensor, mass: Tensor | None, scale: float) -> Tensor:
    """As `attention.received`."""
    return _launched(_received, queries, keys, mass, scale, {"ROWS": ROWS})


def _launched(kernel: Any, queries: Tensor, keys: Tensor, mass: Tensor | None, scale: float, more: Any) -> Tensor:
    queries, keys = (part if part.stride(3) == 1 else part.contiguous() for part in (queries, keys))
    images, heads, tokens, dims = keys.shape
    out = torch.empty(images, heads, tokens, dtype=torch.float32, device=keys.device)
    prefix = tokens if mass is None else tokens - mass.shape[1]
    given = out if mass is None else mass.float().contiguous()  # one that nobody reads
    block, wide = (max(16, triton.next_power_of_2(size)) for size in (tokens, dims))
    launch: dict[str, Any] = {"WEIGHED": mass is not None, "TOKENS": block, "DIMS": wide,
                              "num_warps": 8 if block > 128 else 4}  # fmt: skip
    if out.numel():
        kernel[(images * heads,)](
            queries, keys, given, out, *queries.stride()[:3], *keys.stride()[:3], heads, tokens, dims, prefix, scale,
            **launch, **more,
        )  # fmt: skip
    return out


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _log_mass(mass, image, token, tokens, prefix, WEIGHED: tl.constexpr):  # type: ignore[no-untyped-def]
    there = token < tokens
    bias = tl.where(there, 0.0, float("-inf"))
    if WEIGHED:
        patch = there & (token >= prefix)
        each = tl.load(mass + image * (tokens - prefix) + token - prefix, mask=patch, other=1.0)
        bias = tl.where(patch, tl.log(each), bias)
    return bias


@triton.jit(do_not_specialize=["heads", "tokens", "prefix"])  # type: ignore[untyped-decorator, unused-ignore]
def _first(queries, keys, mass, out, q_image, q_head, q_token, k_image, k_head, k_token, heads, tokens, dims, prefix, scale,  # type: ignore[no-untyped-def]  # noqa: E501
           WEIGHED: tl.constexpr, TOKENS: tl.constexpr, DIMS: tl.constexpr):  # fmt: skip
    image, head = (tl.program_id(0) // heads).to(tl.int64), tl.program_id(0) % heads
    token, dim = tl.arange(0, TOKENS), tl.arange(0, DIMS)
    there, known = token < tokens, dim < dims
    asked = tl.load(queries + image * q_image + head * q_head + dim, mask=known, other=0.0).to(tl.float32)
    at = keys + image * k_image + head * k_head + token[:, None] * k_token + dim[None, :]
    key = tl.load(at, mask=there[:, None] & known[None, :], other=0.0).to(tl.float32)
    scores = tl.sum(key * asked[None, :], axis=1) * scale + _log_mass(mass, image, token, tokens, prefix, WEIGHED)
    weights = tl.exp(scores - tl.max(scores, axis=0))
    tl.store(out + (image * heads + head) * tokens + token, weights / tl.sum(weights, axis=0), mask=there)


@triton.jit(do_not_specialize=["heads", "tokens", "prefix"])  # type: ignore[untyped-decorator, unused-ignore]
def _received(queries, keys, mass, out, q_image, q_head, q_token, k_image, k_head, k_token, heads, tokens, dims, prefix, scale,  # type: ignore[no-untyped-def]  # noqa: E501
              WEIGHED: tl.constexpr, TOKENS: tl.constexpr, DIMS: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    image, head = (tl.program_id(0) // heads).to(tl.int64), tl.program_id(0) % heads
    token, dim, row = tl.arange(0, TOKENS), tl.arange(0, DIMS), tl.arange(0, ROWS)
    there, known = token < tokens, dim < dims
    at = keys + image * k_image + head * k_head + token[None, :] * k_token + dim[:, None]
    key = tl.load(at, mask=there[None, :] & known[:, None], other=0.0)
    bias = _log_mass(mass, image, token, tokens, prefix, WEIGHED)
    total = tl.zeros([TOKENS], tl.float32)
    for first in range(0, tokens, ROWS):
        asks = first + row < tokens
        place = queries + image * q_image + head * q_head + (first + row)[:, None] * q_token + dim[None, :]
        asked = tl.load(place, mask=asks[:, None] & known[None, :], other=0.0)
        scores = tl.dot(asked, key) * scale + bias[None, :]
        weights = tl.exp(scores - tl.max(scores, axis=1)[:, None])
        weights = weights / tl.sum(weights, axis=1)[:, None]
        total += tl.sum(tl.where(asks[:, None], weights, 0.0), axis=0)
    tl.store(out + (image * heads + head) * tokens + token, total, mask=there)
