"""What every registered host must do, driven by the registry: a new family passes this without writing a test."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import tokenlens
from tokenlens.core.beginning import Beginning
from tokenlens.core.host import HOSTS, Host, host, host_of
from tokenlens.errors import BadInput
from tokenlens.extraction.flops import gflops


@pytest.fixture(params=list(HOSTS), scope="module")
def model(request: pytest.FixtureRequest) -> nn.Module:
    """The host's own example, decided enough that rounding decides nothing."""
    torch.manual_seed(0)
    made: nn.Module = HOSTS[request.param].example().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def images_of(found: Host, count: int = 2) -> Tensor:
    return torch.randn(count, *found.image, generator=torch.Generator().manual_seed(1))


def test_it_is_found_and_says_what_it_is(model: nn.Module) -> None:
    found = host_of(model)
    rows, columns = found.grid
    assert found.blocks >= 1 and found.width >= 1 and found.prefix >= 0 and rows * columns > 1
    tokens = found.embed(images_of(found))
    assert tokens.x.shape == (2, found.prefix + rows * columns, found.width) and tokens.grid == found.grid
    assert found.grid_of(found.image[1:]) == found.grid
    assert found.family and found.supported and (found.prefix > 0 or not found.has_class_token)


@torch.no_grad()
def test_without_a_reducer_it_is_the_library(model: nn.Module) -> None:
    found = host_of(model)
    images = images_of(found)
    logits, trace = tokenlens.reduce(model, "none", blocks=(0, found.blocks - 1)).trace(images)
    expected = model(images)
    assert torch.equal(logits, getattr(expected, "logits", expected)) and trace.kept.all()


@torch.no_grad()
def test_models_of_the_same_weights_share_what_comes_before_they_decide(model: nn.Module) -> None:
    images = images_of(host_of(model))
    asked = (("tome", 0.5), ("tome", 0.8), ("l2", 0.5), ("kmedoids", 0.5), ("kmedoids", 0.8))
    models = [tokenlens.reduce(model, method, rate, blocks=(1, 2)) for method, rate in asked]
    begin = Beginning(models[0].host, images)
    for reduced in models:
        (alone, here), (shared, there) = reduced.trace(images), reduced.trace(images, begin=begin)
        assert torch.equal(alone, shared) and torch.equal(here.group, there.group)
    assert len(begin.after) == 2 and [*begin.inside] == [1]  # block 0, and of block 1 the attention


@torch.no_grad()
def test_the_given_model_is_not_changed(model: nn.Module) -> None:
    before = {name: type(module) for name, module in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    tokenlens.reduce(model, "tome", blocks=(0, 1))(images_of(host_of(model)))
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@torch.no_grad()
def test_its_cost_is_what_torch_counts(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    found = host_of(model)
    for left in ({}, {1: 20}):
        reduced = tokenlens.reduce(model, "l2", keep=tuple(left.values()) or (64,), blocks=tuple(left) or (1,))
        with FlopCounterMode(display=False) as counter, monkeypatch.context() as patch:
            # torch counts no attention that is one kernel of its own
            patch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: False)
            trace = reduced.trace(images_of(found, 1))[1]
        counted = dict(zip(trace.blocks, trace.tokens_left[0].tolist(), strict=True))
        assert gflops(found, counted, "before_block") == pytest.approx(counter.get_total_flops() / 2e9, rel=1e-6)


@torch.no_grad()
def test_every_module_is_called_where_reducers_stand(model: nn.Module) -> None:
    """Whatever a user hooks on to is called in a reduced model as in the library's own forward."""

    def called(parts: nn.Module, run: nn.Module) -> set[str]:
        seen: set[str] = set()
        handles = [
            part.register_forward_hook(lambda m, a, o, name=name: seen.add(name))
            for name, part in parts.named_modules()
            if not isinstance(part, nn.Sequential)  # a mere container, which a walk goes through as it is
        ]
        run(images_of(host_of(model)))
        for handle in handles:
            handle.remove()
        return seen - {""}

    plain, kinds = called(model, model), {name: type(part) for name, part in model.named_modules()}
    for method in ("tome", "l2"):
        reduced = tokenlens.reduce(model, method, blocks=(0, 1))
        split = [name for name, part in reduced.vit.named_modules() if type(part) is not kinds[name]]
        holders = {name for name in plain if sum(other.startswith(f"{name}.") for other in split) > 1}
        assert called(reduced.vit, reduced) >= plain - holders


def test_a_model_that_no_host_knows_is_refused_by_name() -> None:
    with pytest.raises(
        BadInput, match=r"Linear is a Linear, which tokenlens does not understand; `tokenlens models` lists .*timm ViT"
    ):
        host_of(nn.Linear(2, 2))


def test_two_hosts_cannot_have_one_name() -> None:
    name = next(iter(HOSTS))
    with pytest.raises(BadInput, match=f"registers a host '{name}', and .* has that name; rename one"):
        host(name)(type("Other", (), {"__module__": "elsewhere"}))
