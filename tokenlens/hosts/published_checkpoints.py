"""The words that published checkpoints have for how they were trained, in ours."""

from __future__ import annotations

from typing import Any

METHOD_OPTIONS = {
    "equal_weight": "equal_weight",
    "k_neighbors": "neighbours",
    "cluster_iters": "iterations",
    "sinkhorn_eps": "eps",
    "linkage": "linkage",
    "proportional_attn": "proportional",
}
OF_SHARES = ("topk", "evit", "dyvit")  # what published lists hold; elsewhere they are counts


def trained_with(args: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments of `reduce` that a checkpoint was trained with; None where it does not say."""
    if "reduction" in args:
        said = dict(args["reduction"])
        return {**said.pop("options"), **said, "blocks": tuple(said["blocks"])}
    name = str(args.get("model", "")).split("_")[0]
    rates = args.get("keep_rate", args.get("reduction_ratio"))
    rates = list(rates) if isinstance(rates, list | tuple) else [] if rates is None else [rates]
    rings = name == "heuristic" and not args.get("not_contiguous")  # which come without rates, in decreasing radii
    if not rates and rings:
        rates = [0.5]  # any would do
    if name in ("", "deit") or not rates:
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
