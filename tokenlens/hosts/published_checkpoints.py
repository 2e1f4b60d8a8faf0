"""The words that published checkpoints have for how they were trained, in ours."""

from __future__ import annotations

import re
from typing import Any

import timm

from ..errors import BadInput

PUBLISHED = re.compile(r"[a-z]+_(tiny|small|base)_patch16_(224|384)(?:_\w+)?")  # a method and the DeiT it started from
METHOD_OPTIONS = {
    "equal_weight": "equal_weight",
    "k_neighbors": "neighbours",
    "cluster_iters": "iterations",
    "sinkhorn_eps": "eps",
    "linkage": "linkage",
    "proportional_attn": "proportional",
}
WORDS = (
    "model", "keep_rate", "reduction_ratio", "reduction_loc", "not_contiguous", "heuristic_pattern", "min_radius",
    *METHOD_OPTIONS,
)  # fmt: skip
OF_SHARES = ("topk", "evit", "dyvit")  # what published lists hold; elsewhere they are counts


def is_published(model: str) -> bool:
    """Whether a model's name is one of the published code's, `<method>_<capacity>_patch16_224`, and none of timm's."""
    return PUBLISHED.fullmatch(model) is not None and not timm.is_model(model)


def settings(args: dict[str, Any]) -> dict[str, Any]:
    """Of the settings in a checkpoint that is not ours, those that mean what they mean to us.

    Other people's scripts have other things under such names as keep_rate, input or heads: all but the model's name is
    believed of the published code alone.
    """
    model = args.get("model")
    if not isinstance(model, str):
        return {}
    return {name: args[name] for name in WORDS if name in args} if is_published(model) else {"model": model}


def trained_with(args: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments of `reduce` that a checkpoint was trained with; None where it does not say."""
    if "reduction" in args:  # of our own header, which was checked
        said = dict(args["reduction"])
        return {**said.pop("options", {}), **said, "blocks": tuple(said["blocks"])}
    if not is_published(str(args.get("model", ""))):
        return None
    try:
        return _published(args)
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"the settings of a checkpoint of {args['model']} cannot be read ({error}); give its method with --method"
        ) from error


def _published(args: dict[str, Any]) -> dict[str, Any] | None:
    name = str(args["model"]).split("_")[0]
    rates = args.get("keep_rate", args.get("reduction_ratio"))
    rates = list(rates) if isinstance(rates, list | tuple) else [] if rates is None else [rates]
    rings = name == "heuristic" and not args.get("not_contiguous")  # which come without rates, in decreasing radii
    if not rates and rings:
        rates = [0.5]  # any would do
    if not rates:
        return None
    options = {ours: args[theirs] for theirs, ours in METHOD_OPTIONS.items() if theirs in args}
    if name == "heuristic":
        name = str(args.get("heuristic_pattern", "l2"))
        options = {"contiguous": rings, "min_radius": max(float(args.get("min_radius", 1.0) or 0.0), 0.0)}
    amount: dict[str, Any] = {"keep_rate": rates[0] if len(rates) == 1 else rates}
    if len(rates) > 1 and name not in OF_SHARES and all(float(rate).is_integer() for rate in rates):
        amount = {"keep": [int(count) - (name == "ats") for count in rates]}  # of ATS, with the class token
    blocks = args.get("reduction_loc", [3, 6, 9])
    return {"method": {"dyvit": "dynamicvit"}.get(name, name), "blocks": tuple(blocks), **amount, **options}
