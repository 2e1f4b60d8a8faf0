"""transformers' vision towers: walked as the library runs them, with its output classes; what is none is refused."""

import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.core.host import host_of
from tokenlens.errors import BadInput
from tokenlens.extraction.jobs import Job
from tokenlens.hosts.hf_layers import TOWERS
from tokenlens.hosts.loading import input_of, pretrained, untrained

transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
MLP: dict[str, Any] = {"mlp_ratio": 2}


def config(kind: str, **words: Any) -> Any:
    return getattr(transformers, f"{kind}Config")(**{**SMALL, **words})


def both(kind: str, **words: Any) -> Any:
    """A configuration of a tower for pictures and one for words."""
    part = {name: value for name, value in {**SMALL, **words}.items() if name != "num_labels"}
    return getattr(transformers, f"{kind}Config")(
        vision_config=part, num_labels=words.get("num_labels", 5), text_config={"num_hidden_layers": 1}
    )


def build(kind: str, made: Any, **words: Any) -> nn.Module:
    """Decided enough that rounding decides nothing."""
    torch.manual_seed(0)
    model: nn.Module = getattr(transformers, kind)(made, **words).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


# five of each family: sizes, heads, activations, norms, prefixes, classifiers
MODELS: dict[str, Callable[[], nn.Module]] = {
    "ViT": lambda: build("ViTModel", config("ViT")),
    "ViT without a pooler": lambda: build("ViTModel", config("ViT"), add_pooling_layer=False),
    "ViT oblong": lambda: build("ViTModel", config("ViT", image_size=(32, 48))),
    "ViT without biases": lambda: build("ViTForImageClassification", config("ViT", qkv_bias=False, num_labels=7)),
    "ViT of relu": lambda: build("ViTForImageClassification", config("ViT", hidden_act="relu", patch_size=16)),
    "DeiT": lambda: build("DeiTModel", config("DeiT")),
    "DeiT without a pooler": lambda: build("DeiTModel", config("DeiT"), add_pooling_layer=False),
    "DeiT classifier": lambda: build("DeiTForImageClassification", config("DeiT", num_labels=7)),
    "DeiT with a teacher": lambda: build("DeiTForImageClassificationWithTeacher", config("DeiT", num_labels=7)),
    "DeiT of four heads": lambda: build("DeiTModel", config("DeiT", num_attention_heads=4, qkv_bias=False)),
    "DINOv2": lambda: build("Dinov2Model", config("Dinov2", **MLP)),
    "DINOv2 classifier": lambda: build("Dinov2ForImageClassification", config("Dinov2", num_labels=7, **MLP)),
    "DINOv2 giant's": lambda: build("Dinov2Model", config("Dinov2", use_swiglu_ffn=True, **MLP)),
    "DINOv2 scaled": lambda: build("Dinov2Model", config("Dinov2", layerscale_value=0.1, **MLP)),
    "DINOv2 that drops paths": lambda: build("Dinov2Model", config("Dinov2", drop_path_rate=0.1, **MLP)),
    "registers": lambda: build("Dinov2WithRegistersModel", config("Dinov2WithRegisters", **MLP)),
    "two registers": lambda: build(
        "Dinov2WithRegistersModel", config("Dinov2WithRegisters", num_register_tokens=2, **MLP)
    ),
    "registers classifier": lambda: build(
        "Dinov2WithRegistersForImageClassification", config("Dinov2WithRegisters", num_labels=7, **MLP)
    ),
    "registers giant's": lambda: build(
        "Dinov2WithRegistersModel", config("Dinov2WithRegisters", use_swiglu_ffn=True, **MLP)
    ),
    "registers without biases": lambda: build(
        "Dinov2WithRegistersModel", config("Dinov2WithRegisters", qkv_bias=False, **MLP)
    ),
    "DINOv3": lambda: build("DINOv3ViTModel", config("DINOv3ViT")),
    "DINOv3 with registers": lambda: build("DINOv3ViTModel", config("DINOv3ViT", num_register_tokens=4)),
    "DINOv3 gated": lambda: build("DINOv3ViTModel", config("DINOv3ViT", use_gated_mlp=True)),
    "DINOv3 oblong": lambda: build("DINOv3ViTModel", config("DINOv3ViT", image_size=(32, 48))),
    "DINOv3 with biases": lambda: build("DINOv3ViTModel", config("DINOv3ViT", key_bias=True, rope_theta=50.0)),
    "CLIP": lambda: build("CLIPVisionModel", config("CLIPVision")),
    "CLIP of gelu": lambda: build("CLIPVisionModel", config("CLIPVision", hidden_act="gelu")),
    "CLIP with a projection": lambda: build("CLIPVisionModelWithProjection", config("CLIPVision", projection_dim=12)),
    "CLIP classifier": lambda: build("CLIPForImageClassification", both("CLIP", num_labels=5)),
    "CLIP of large patches": lambda: build("CLIPVisionModel", config("CLIPVision", patch_size=16)),
    "SigLIP": lambda: build("SiglipVisionModel", config("SiglipVision")),
    "SigLIP without a head": lambda: build("SiglipVisionModel", config("SiglipVision", vision_use_head=False)),
    "SigLIP classifier": lambda: build("SiglipForImageClassification", both("Siglip", num_labels=5)),
    "SigLIP of four heads": lambda: build("SiglipVisionModel", config("SiglipVision", num_attention_heads=4)),
    "SigLIP of large patches": lambda: build("SiglipVisionModel", config("SiglipVision", patch_size=16)),
    "SigLIP 2": lambda: build("Siglip2VisionModel", config("Siglip2Vision", num_patches=16)),
    "SigLIP 2 without a head": lambda: build(
        "Siglip2VisionModel", config("Siglip2Vision", num_patches=16, vision_use_head=False)
    ),
    "SigLIP 2 classifier": lambda: build(
        "Siglip2ForImageClassification", both("Siglip2", num_patches=16, num_labels=5)
    ),
    "SigLIP 2 of more patches": lambda: build("Siglip2VisionModel", config("Siglip2Vision", num_patches=36)),
    "SigLIP 2 of four heads": lambda: build(
        "Siglip2VisionModel", config("Siglip2Vision", num_patches=16, num_attention_heads=4)
    ),
}  # fmt: skip


def pixels(model: nn.Module) -> Tensor:
    return torch.randn(2, *host_of(model).image, generator=torch.Generator().manual_seed(1))


def library(model: nn.Module, images: Tensor) -> Any:
    """The library's own forward."""
    found = host_of(model)
    if not type(found.tower).__name__.startswith("Siglip2"):  # type: ignore[attr-defined]
        return model(images)
    rows, columns = found.grid
    cut = images.reshape(2, 3, rows, 8, columns, 8).permute(0, 2, 4, 3, 5, 1).reshape(2, rows * columns, -1)
    return model(
        cut, pixel_attention_mask=torch.ones(2, rows * columns, dtype=torch.long),
        spatial_shapes=torch.tensor([[rows, columns]] * 2),
    )  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_without_a_reducer_it_is_the_library(name: str) -> None:
    model = MODELS[name]()
    images, found = pixels(model), host_of(model)
    expected = library(model, images)
    for method, rate in (("none", 0.5), ("tome", 1.0)):
        given = tokenlens.reduce(model, method, rate, blocks=(0, 1))(images)
        assert type(given) is type(expected) and given.keys() == expected.keys()
        assert all(torch.equal(given[key], expected[key]) for key in given)
    for method in ("tome", "topk" if found.has_class_token else "kmedoids"):
        reduced = tokenlens.reduce(model, method, 0.5, blocks=(1, 2))
        logits, trace = reduced.trace(images)
        patches = found.grid[0] * found.grid[1]
        assert trace.tokens_left.tolist() == [[patches // 2, patches // 4]] * 2 and logits.isfinite().all()
        assert type(reduced(images)) is type(expected)


def test_every_tower_is_tried() -> None:
    tried = {type(host_of(make()).tower).__name__ for make in MODELS.values()}  # type: ignore[attr-defined]
    assert tried == set(TOWERS)


def mapped(model: nn.Module) -> nn.Module:
    """Timm's ViT with the weights of transformers' ViT or DINOv2."""
    state, ours = model.state_dict(), {}
    dino = type(model).__name__.startswith("Dinov2")
    words = {
        "embeddings.cls_token": "cls_token", "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection": "patch_embed.proj", "layernorm_before": "norm1",
        "layernorm_after": "norm2", "attention.o_proj": "attn.proj", "layer_scale1.lambda1": "ls1.gamma",
        "layer_scale2.lambda1": "ls2.gamma", "encoder.layer.": "blocks.", "layers.": "blocks.", "layernorm.": "norm.",
    }  # fmt: skip
    for name, value in state.items():
        for word, other in words.items():
            name = name.replace(word, other)
        ours[name] = value
    for i in range(3):
        for kind in ("weight", "bias"):
            parts = [ours.pop(f"blocks.{i}.attention.{part}_proj.{kind}") for part in "qkv"]
            ours[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat(parts)
    ours.pop("embeddings.mask_token", None)
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2, num_classes=0,
        mlp_ratio=2 if dino else 1.5, init_values=1.0 if dino else None,
        norm_layer=partial(nn.LayerNorm, eps=model.config.layer_norm_eps),
    )  # fmt: skip
    vit.load_state_dict(ours)
    return vit.eval()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["ViT without a pooler", "DINOv2"])
@torch.no_grad()
def test_the_same_weights_give_the_same_patterns_through_timm(name: str) -> None:
    model = MODELS[name]()
    vit, images = mapped(model), pixels(model)
    for method in ("topk", "evit", "tome", "atc", "kmedoids", "ats"):
        options: dict[str, Any] = {"keep_rate": 0.6, "blocks": (1, 2)}
        theirs, trace = tokenlens.reduce(vit, method, **options).trace(images)
        ours, same = tokenlens.reduce(model, method, **options).trace(images)
        assert torch.equal(trace.group, same.group), method
        assert (ours - theirs).abs().max() < 1e-4, method


@torch.no_grad()
def test_its_layers_may_decide_before_their_attention() -> None:
    """With a plan that keeps all, the softmax that was formed first gives what SDPA gives."""
    for name in ("ViT", "DINOv3 with registers", "CLIP"):
        model = MODELS[name]()
        images, found = pixels(model), host_of(tokenlens.reduce(model, "none", blocks=(0,)).vit)
        tokens = found.embed(images)
        plain = found.block(0, tokens.x, None, tokens.positions)
        decided = found.block(0, tokens.x, None, tokens.positions, decide=lambda *_: None)
        torch.testing.assert_close(decided, plain, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_rows_between_places_are_those_of_the_library_at_places() -> None:
    found = host_of(MODELS["DINOv3 oblong"]())
    positions: Any = found.embed(pixels(found.model)).positions
    here = positions.at(positions.places()[None], 0)
    torch.testing.assert_close(here[0, 0], positions.rows(0), rtol=1e-5, atol=1e-5)
    logits = [
        tokenlens.reduce(found.model, "tome", 0.5, blocks=(0, 1), position=rule).trace(pixels(found.model))[0]
        for rule in ("member", "mean", "rotation")
    ]
    assert all((a - b).abs().max() > 1e-4 for a, b in itertools.pairwise(logits))


@torch.no_grad()
def test_labels_and_keyword_arguments_are_the_librarys() -> None:
    model = MODELS["DeiT classifier"]()
    images, labels = pixels(model), torch.tensor([1, 2])
    given = tokenlens.reduce(model, "none", blocks=(1,))(pixel_values=images, labels=labels)
    assert torch.equal(given.loss, model(images, labels=labels).loss)


def test_what_a_reduced_tower_does_not_give_is_told() -> None:
    model = tokenlens.reduce(MODELS["ViT"](), "topk", blocks=(1,))
    with pytest.raises(BadInput, match=r"does not give attentions .* eager attention, .* takes T x T numbers"):
        model(torch.zeros(1, 3, 32, 32), output_attentions=True)
    with pytest.raises(BadInput, match="layers of different lengths"):
        model(torch.zeros(1, 3, 32, 32), output_hidden_states=True)


@torch.no_grad()
def test_attention_pooling_refuses_padding_and_averages_leave_it_out() -> None:
    model = MODELS["DINOv2 classifier"]()
    images = torch.cat([pixels(model), torch.zeros(1, 3, 32, 32)])
    reduced = tokenlens.reduce(model, "ats", 0.7, blocks=(0, 1))
    alone = torch.cat([reduced(image[None]).logits for image in images])
    torch.testing.assert_close(reduced(images).logits, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: build("BertModel", transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
         intermediate_size=8, vocab_size=8)), "BertModel .* no tower of patch tokens that is understood; supported"),
        (lambda: build("ResNetForImageClassification", transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8],
         depths=[1])), "ResNetForImageClassification .* no tower of patch tokens"),
        (lambda: build("CLIPModel", both("CLIP")), "CLIPModel .* does more than look at an image; give its vision_m"),
        (lambda: build("ViTForMaskedImageModeling", config("ViT", encoder_stride=8)), "give its vit"),
    ],
)  # fmt: skip
def test_models_of_other_tasks_are_refused(make: Callable[[], nn.Module], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        tokenlens.reduce(make(), "tome", blocks=(0,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What save_pretrained writes, with the image processor."""
    place = tmp_path / "my-vit"
    MODELS["ViT without biases"]().save_pretrained(place)
    transformers.ViTImageProcessor(
        size={"shortest_edge": 40}, do_center_crop=True, crop_size={"height": 32, "width": 32}, resample=2,
        image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4],
    ).save_pretrained(place)  # fmt: skip
    return place


@torch.no_grad()
def test_a_folder_with_its_image_processor(folder: Path) -> None:
    model = pretrained(str(folder))
    saved = MODELS["ViT without biases"]().state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
    seen = input_of(model)
    assert (seen["input_size"], seen["mean"], seen["crop_pct"]) == ((3, 32, 32), (0.4, 0.5, 0.6), 0.8)
    assert seen["interpolation"] == "bilinear" and host_of(model).name == "hf:my-vit"
    assert pretrained(f"hf:{folder}").num_classes == 7 == untrained(str(folder), 7).num_classes


def test_a_processor_that_is_not_there_is_told(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    with pytest.warns(UserWarning, match="hf:my-vit comes without an image processor .* as timm makes them"):
        assert input_of(pretrained(str(folder)))["input_size"] == (3, 32, 32)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"model_type": "odd", "auto_map": {"AutoConfig": "odd.Odd"}},
            "hf:my-vit wants code of its own to be run, which tokenlens does not do; load it in Python yourself",
        ),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "could not get|holds no|no tower"),
        (  # would fetch its backbone
            {
                "model_type": "detr",
                "backbone": "hf_hub:a/b",
                "use_timm_backbone": True,
                "use_pretrained_backbone": True,
            },
            "hf:my-vit is a .* which has no tower of patch tokens that is understood",
        ),
        ({"architectures": ["BeitForImageClassification"]}, "hf:my-vit says that it is a Beit.* and of type vit; save"),
        ({"num_hidden_layers": 4}, "hf:my-vit holds no vit.layers.3.* give a checkpoint that is whole"),
        ({"model_type": "nonsense"}, "could not get hf:my-vit .* owner/name of a model on the hub, or a folder"),
    ],
)
def test_folders_that_cannot_be_meant_are_refused(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    (folder / "odd.py").write_text("raise SystemExit('run')")
    with pytest.raises(BadInput, match=sentence) as told:
        host_of(pretrained(str(folder)))
    assert "\n" not in str(told.value)


def test_patterns_of_a_folders_tower_are_extracted(tmp_path: Path) -> None:
    place = tmp_path / "my-dinov2"
    MODELS["DINOv2"]().save_pretrained(place)
    transformers.BitImageProcessor(
        size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}, resample=3
    ).save_pretrained(place)
    said: list[str] = []
    job = Job(model=str(place), methods=["topk"], blocks=[1, 2], limit=4, out=tmp_path / "runs", progress=False,
              features="float32", tell=said.append)  # fmt: skip
    ((run, result),) = job.results()
    assert (run.model, result.tokens_left) == ("hf:my-dinov2", [8.0, 4.0])
    assert said == ["embedded:shapes has 10 classes and the model none: no accuracy is given"]
