"""What every registered method must do, driven by the registry: a new method passes this without writing a test."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.core.beginning import Beginning
from tokenlens.core.reduced_vit import ReducedViT
from tokenlens.core.trace import Trace
from tokenlens.methods import methods

METHODS = list(methods())
BLOCKS = (1, 3, 5)
EXACT = [name for name in METHODS if methods()[name].reducer.family in ("pruning", "soft", "random", "merging")]
EXACT = [name for name in EXACT if not (methods()[name].reducer.adaptive or methods()[name].reducer.halves)]
EXACT.remove("evit")  # whose fused token comes on top
every_method = pytest.mark.parametrize("name", METHODS)


def build(vit: nn.Module, name: str, **settings: Any) -> ReducedViT:
    """With the same parameters of its own at every call."""
    torch.manual_seed(3)
    return tokenlens.reduce(vit, name, **{"blocks": BLOCKS, **settings})


def same(a: Trace, b: Trace, order: Any = slice(None)) -> bool:
    return all(torch.equal(getattr(a, part)[order], getattr(b, part)) for part in ("kept", "group", "tokens_left"))


def check_trace(trace: Trace, name: str, patches: int = 64) -> None:
    """The facts that hold for any pattern of a method."""
    method = methods()[name].reducer
    kept, group, left = trace.kept, trace.group.long(), trace.tokens_left.long()
    stages = len(trace.blocks)
    assert (kept.dtype, group.shape[1:], trace.group.dtype) == (torch.bool, (stages, patches), torch.int16)
    assert (left.shape, trace.tokens_left.dtype) == ((len(kept), stages), torch.int16)
    assert (left >= 1).all() and (left <= patches).all()
    assert (group[kept] >= 0).all(), "a patch that is kept has a home"
    assert (group >= (-2 if method.waits else -1)).all() and (group < left.unsqueeze(-1)).all()
    if not method.drops:
        assert (group != -1).all(), "nothing is dropped by what merges"
    if not method.waits:
        assert not (kept[:, 1:] & ~kept[:, :-1]).any(), "a patch that is gone never comes back"
    assert (kept.sum(-1) <= left).all()
    gone = group[:, :-1] == -1
    assert (group[:, 1:][gone] < 0).all()
    if method.drops and not method.merges:
        assert torch.equal(group >= 0, kept), "where patches are dropped, those that stay stand for themselves"


@every_method
@torch.no_grad()
def test_a_keep_rate_of_one_is_exactly_timm(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    logits, trace = build(tiny_vit, name, keep_rate=1.0).trace(images)
    assert torch.equal(logits, tiny_vit(images))
    assert trace.kept.all() and (trace.tokens_left == 64).all()
    assert torch.equal(trace.group[0, 2], torch.arange(64, dtype=torch.int16))


@torch.no_grad()
def test_what_comes_before_the_first_reducer_is_the_same_for_all(tiny_vit: nn.Module, images: Tensor) -> None:
    models = {name: build(tiny_vit, name, blocks=(2, 4)) for name in METHODS}
    begin = Beginning(models["topk"].host, images)
    for name, model in models.items():
        logits, trace = model.trace(images, features=True)
        shared, seen = model.trace(images, features=True, begin=begin)
        assert torch.equal(logits, shared) and same(trace, seen), name
        assert all(torch.equal(trace.features[layer], seen.features[layer]) for layer in trace.features)
    assert len(begin.after) == 3  # blocks 0 and 1, once


@every_method
@pytest.mark.parametrize("rate", [0.9, 0.5, [0.3, 0.6, 0.2], 0.01])
@torch.no_grad()
def test_traces_are_sound(name: str, rate: Any, tiny_vit: nn.Module, images: Tensor) -> None:
    model = build(tiny_vit, name, keep_rate=rate)
    logits, trace = model.trace(images)
    check_trace(trace, name)
    assert logits.shape == (4, 10) and logits.isfinite().all()
    asked = torch.tensor(model.schedule.keep(64))
    if name in EXACT:  # which cannot grow again, unless tokens come back
        assert (trace.tokens_left == (asked if methods()[name].reducer.waits else asked.cummin(0).values)).all()
    elif name == "ats":
        assert (trace.tokens_left <= asked.cummin(0).values + 1).all()


@every_method
@pytest.mark.parametrize(
    "settings",
    [
        {"blocks": (0, 5)},
        {"blocks": (2, 3, 4)},
        {"keep": (40, 40, 7)},
        {"keep": (64, 20, 20)},
        {"keep_rate": [0.2, 0.5, 1.0]},
    ],
    ids=["first-and-last", "consecutive", "counts", "first-does-nothing", "rising"],
)
@torch.no_grad()
def test_stages_anywhere(name: str, settings: dict[str, Any], tiny_vit: nn.Module, images: Tensor) -> None:
    model = build(tiny_vit, name, **settings)
    logits, trace = model.trace(images[:2])
    check_trace(trace, name)
    assert tuple(trace.blocks) == model.blocks
    assert logits.isfinite().all()


@every_method
@torch.no_grad()
def test_the_batch_changes_nothing(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    model = build(tiny_vit, name, keep_rate=0.7)
    logits, trace = model.trace(images)
    order = torch.tensor([2, 0, 3, 1])
    moved_logits, moved = model.trace(images[order])
    assert same(trace, moved, order)
    assert (moved_logits - logits[order]).abs().max() < 1e-4
    for i in range(len(images)):
        alone_logits, alone = model.trace(images[i : i + 1])
        assert same(trace, alone, slice(i, i + 1))
        assert (alone_logits - logits[i]).abs().max() < 1e-4


@every_method
@torch.no_grad()
def test_images_differ_and_so_do_patterns(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    _, trace = build(tiny_vit, name).trace(images)
    differs = not torch.equal(trace.group[0], trace.group[1])
    assert differs == (not methods()[name].reducer.fixed)


@every_method
@torch.no_grad()
def test_copies_behave_alike(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    model = build(tiny_vit, name)
    logits, trace = model.trace(images)
    state = model.state_dict()
    assert {key.split(".")[0] for key in state} <= {"vit", "reducers"}
    assert {key.split(".")[1] for key in state if key.startswith("reducers.")} <= {str(b) for b in model.blocks}
    saved = io.BytesIO()
    torch.save(state, saved)
    torch.manual_seed(99)
    loaded = tokenlens.reduce(tiny_vit, name, blocks=BLOCKS)
    loaded.load_state_dict(torch.load(io.BytesIO(saved.getvalue()), weights_only=True))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
        other_logits, other_trace = other.trace(images)
        assert torch.equal(other_logits, logits) and same(other_trace, trace)


@every_method
def test_gradients_reach_every_parameter(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    # float64: all that DPC-KNN's last bias moves is what an epsilon of 1e-6 lets through
    # after the last attention nothing reaches the class token any more
    model, images = build(tiny_vit, name, keep_rate=0.7, blocks=(1, 3, 4)).train().double(), images.double()
    torch.manual_seed(1)
    logits, trace = model.trace(images)
    logits.square().sum().backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key
            assert parameter.grad.abs().max() > 0, key
    assert trace.tokens_left.shape == (4, len(model.blocks))
    copied = copy.deepcopy(model)  # a step leaves nothing behind that cannot be copied, as EMA does
    with torch.no_grad():
        assert torch.equal(copied.eval()(images), model.eval()(images))


@every_method
@torch.no_grad()
def test_eval_after_train_is_as_before(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    model = build(tiny_vit, name)
    before, trace = model.trace(images)
    model.train()(images)
    after, again = model.eval().trace(images)
    assert torch.equal(before, after) and same(trace, again)


@every_method
@torch.no_grad()
def test_autocast_gives_finite_logits(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    model = build(tiny_vit, name)
    with torch.autocast("cpu", torch.bfloat16):
        logits, trace = model.trace(images)
    assert logits.isfinite().all()
    check_trace(trace, name)


@every_method
@torch.no_grad()
def test_float64_models(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    single = build(tiny_vit, name, keep_rate=0.7)
    double = build(copy.deepcopy(tiny_vit).double(), name, keep_rate=0.7)
    double.load_state_dict(single.state_dict())
    logits, _ = double.trace(images.double())
    assert logits.dtype == torch.float64
    assert (logits - single(images)).abs().max() < 1e-3


@every_method
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_a_model_is_cast_before_or_after_with_one_result(
    name: str, dtype: torch.dtype, tiny_vit: nn.Module, images: Tensor
) -> None:
    after, before = build(tiny_vit, name), build(copy.deepcopy(tiny_vit).to(dtype), name)
    before.reducers.load_state_dict(after.reducers.state_dict())
    logits, trace = after.to(dtype).trace(images.to(dtype))
    other, same_trace = before.trace(images.to(dtype))
    assert logits.dtype == dtype and torch.equal(logits, other) and same(trace, same_trace)
    check_trace(trace, name)
    assert {parameter.dtype for parameter in after.reducers.parameters()} <= {torch.float32}


@pytest.mark.parametrize("name", [name for name in METHODS if methods()[name].reducer.trained])
@torch.no_grad()
def test_what_is_trained_has_parameters_that_matter(name: str, tiny_vit: nn.Module, images: Tensor) -> None:
    model = build(tiny_vit, name)
    logits = model(images)
    for parameter in model.reducers.parameters():
        parameter.normal_()
    assert (model.eval()(images) - logits).abs().max() > 1e-3  # what a walk must not read is read where training ends


@pytest.mark.parametrize("name", [name for name in METHODS if not methods()[name].reducer.trained])
def test_what_is_not_trained_has_no_parameters(name: str, tiny_vit: nn.Module) -> None:
    assert not list(build(tiny_vit, name).reducers.parameters())


@every_method
def test_the_card_is_one_sentence(name: str) -> None:
    method = methods()[name]
    assert 20 < len(method.card) < 120 and method.card.endswith(".")
    assert method.reducer.family in ("pruning", "merging", "soft", "radial", "random", "none")
    ours = method.reducer.__module__.startswith("tokenlens.")  # what others bring may be in no paper yet
    assert method.reducer.paper or method.reducer.fixed or method.reducer.family in ("random", "none") or not ours
    assert set(method.reducer.needs) <= {"class token", "attention", "keys"}
