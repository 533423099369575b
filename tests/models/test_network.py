"""The wiring: records, switches, batch independence, zoom steps, and boxes in pixels of the image given."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tlaam.config.options import choices
from tlaam.config.presets import PRESETS
from tlaam.config.sections import ModelConfig
from tlaam.errors import ModelError
from tlaam.models.architecture import Architecture
from tlaam.models.build import build_model
from tlaam.models.crops import crop_and_resize, whole_image_boxes
from tlaam.models.heatmaps import LinearHead
from tlaam.models.localizers.aolm import aolm_boxes
from tlaam.models.network import TLAAM
from tlaam.models.norm import ViewNorm2d
from tlaam.models.output import TLAAMOutput
from tlaam.training.loss import TwoLevelLoss

SMALL = ModelConfig(backbone="resnet18", image_size=64, source_size=128, pretrained="none")


def small(classes: int = 5, **changes: object) -> TLAAM:
    torch.manual_seed(0)
    model = build_model(SMALL.model_copy(update=changes), classes).eval()
    assert isinstance(model, TLAAM)
    nn.init.normal_(model.classifier.weight)
    return model


def pictures(count: int, height: int = 128, width: int = 128) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize(("localizer", "parts"), [
    *((name, "mpalm") for name in choices("localizer")), *(("oaam", name) for name in choices("parts")),
])  # fmt: skip
def test_every_localiser_and_part_proposer_passes(localizer: str, parts: str) -> None:
    output = passes(small(localizer=localizer, parts=parts))
    assert (output.object_boxes is None) is (localizer == "none")
    assert (output.part_boxes is None) is (parts == "none")


@pytest.mark.parametrize("architecture", choices("architecture"))
def test_every_architecture_passes(architecture: str) -> None:
    config = ModelConfig.model_validate({**SMALL.model_dump(), **PRESETS.get(architecture, {})})
    torch.manual_seed(0)
    model = build_model(config, 5).eval()
    for module in model.modules():
        if isinstance(module, LinearHead):
            nn.init.normal_(module.weight)
    output = passes(model)
    assert output.part_logits is not None


@pytest.mark.parametrize("architecture", choices("architecture"))
def test_embeddings_are_one_vector_an_image_and_cost_training_nothing(architecture: str) -> None:
    config = ModelConfig.model_validate({**SMALL.model_dump(), **PRESETS.get(architecture, {})})
    torch.manual_seed(0)
    model = build_model(config, 5).eval()
    images = pictures(3)
    embeddings = model(images).embeddings
    assert embeddings.shape == (3, model.backbone.channels) and not embeddings.requires_grad
    assert not torch.allclose(embeddings[0], embeddings[1])
    torch.testing.assert_close(model(images[1:2]).embeddings, embeddings[1:2], rtol=1e-3, atol=1e-4)
    assert model(images, raw_only=True).embeddings is None
    assert model.train()(images, torch.arange(3)).embeddings is None


@pytest.mark.parametrize("localizer", ["foreground", "none"])
def test_embeddings_are_what_the_object_or_else_the_whole_image_is_classified_by(localizer: str) -> None:
    model = small(localizer=localizer, parts="mpalm")
    output = model(pictures(3))
    logits = output.raw_logits if output.object_logits is None else output.object_logits
    scores = nn.functional.linear(output.embeddings, model.classifier.weight, model.classifier.bias)
    torch.testing.assert_close(scores, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", choices("architecture"))
def test_half_precision_moves_no_box_far_and_every_loss_can_be_taken(architecture: str) -> None:
    config = ModelConfig.model_validate({**SMALL.model_dump(), **PRESETS.get(architecture, {}), "image_size": 128})
    torch.manual_seed(0)
    model = build_model(config, 5).eval()
    images, labels = pictures(4, 256, 256), torch.arange(4)
    with torch.no_grad():
        full = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(images)
    assert full.part_boxes is not None and half.part_boxes is not None
    moved = (full.part_boxes - half.part_boxes).abs().amax(-1)
    assert (moved > 16).float().mean() <= 0.25  # a cell of the last map is 64 pixels: few may fall into another
    for raw_only in (True, False):
        model.train().begin_epoch(2, 9, raw_only)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(images, labels, raw_only=raw_only)
        losses = TwoLevelLoss()(output, labels)
        losses.total.backward()
        assert losses.total.isfinite()
        assert output.own_loss is None or output.own_loss.dtype == torch.float32


def passes(model: Architecture) -> TLAAMOutput:
    """One battery for all: boxes inside the image, an image is its row in a batch, no state moves, it trains."""
    images, labels = pictures(3), torch.arange(3)
    with torch.no_grad():
        output, again, alone = model(images), model(images), model(images[1:2])
    for name, values in output._asdict().items():
        assert (values is None) == (getattr(again, name) is None)
        if values is None:
            continue
        assert values.isfinite().all() and torch.equal(values, getattr(again, name)), name
        torch.testing.assert_close(values[1:2], getattr(alone, name), rtol=1e-3, atol=1e-3)
        if "boxes" in name:
            assert values.min() >= -1e-3 and values.max() <= 128 + 1e-3
            assert (values[..., 2:] > values[..., :2]).all()
    torch.testing.assert_close(output.probabilities.sum(1), torch.ones(3))
    trained = model.train()(images, labels)
    total = trained.raw_logits.sum() + sum(x.sum() for x in trained[2:4] if x is not None)
    total.backward()
    heads = [module for module in model.modules() if isinstance(module, LinearHead)]
    assert heads and all(p.grad is not None and p.grad.isfinite().all() for head in heads for p in head.parameters())
    assert isinstance(output, TLAAMOutput)
    return output


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet18", 64), ("tf_efficientnet_lite0", 64), ("mobilenetv3_small_050", 64), ("test_convnext", 64),
     ("swin_tiny_patch4_window7_224", 224), ("test_vit", 96), ("vit_small_patch14_reg4_dinov2", 112)],
)  # fmt: skip
@pytest.mark.parametrize("localizer", ["oaam", "foreground"])
def test_an_image_alone_and_in_any_batch_is_the_same(name: str, size: int, localizer: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig.model_validate(
        {"backbone": name, "image_size": size, "pretrained": "none", "localizer": localizer}
    )
    model = build_model(config, 5).eval()
    nn.init.normal_(model.classifier.weight)
    images = pictures(5, 2 * size, 2 * size)
    with torch.no_grad():
        together = model(images)
        for row in (0, 3):
            alone = model(images[row : row + 1])
            for name_, whole, single in zip(together._fields, together, alone, strict=True):
                if name_ in ("own_loss", "joint_logits") or (name_ == "foreground_logits" and localizer == "oaam"):
                    assert whole is None and single is None
                    continue
                assert whole is not None and single is not None
                difference = (whole[row] - single[0]).abs().max().item()
                # Boxes are compared as shares of the image's side.
                assert difference <= 1e-4 * (2 * size if "boxes" in name_ else 1), name_


def test_the_record_has_the_documented_shapes() -> None:
    with torch.no_grad():
        output = small()(pictures(3, 128, 96))
    assert output.probabilities.shape == output.raw_logits.shape == (3, 5)
    assert output.object_logits is not None and output.object_logits.shape == (3, 5)
    assert output.part_logits is not None and output.part_logits.shape == (3, 4, 5)
    assert output.heatmaps is not None and output.heatmaps.shape == (3, 2, 2)
    assert output.object_boxes is not None and output.part_boxes is not None
    for boxes in (output.object_boxes[:, None], output.part_boxes):
        assert (boxes[..., 2:] > boxes[..., :2]).all() and boxes.min() >= 0
        assert boxes[..., 2].max() <= 96 + 1e-3 and boxes[..., 3].max() <= 128 + 1e-3
    branches = output.branch_probabilities()
    torch.testing.assert_close(branches["fused"], (branches["raw"] + branches["object"] + branches["parts"]) / 3)
    torch.testing.assert_close(branches["fused"].sum(1), torch.ones(3))


def test_each_module_can_be_switched_off_alone() -> None:
    images = pictures(2)
    with torch.no_grad():
        without_object = small(localizer="none")(images)
        without_parts = small(parts="none")(images)
        plain = small(localizer="none", parts="none", attention="none")(images)
    assert without_object.object_boxes is None and without_object.part_boxes is not None
    assert without_object.heatmaps is None and set(without_object.branch_probabilities()) == {"raw", "parts", "fused"}
    assert without_parts.part_boxes is None and without_parts.object_boxes is not None
    assert set(plain.branch_probabilities()) == {"raw", "fused"}


@pytest.mark.parametrize(("parts", "count"), [("appm", 7), ("appm_vehicles", 6)])
def test_mmal_net_is_another_localiser_and_another_part_proposer(parts: str, count: int) -> None:
    model = small(localizer="aolm", parts=parts, attention="none")
    images = pictures(4)
    with torch.no_grad():
        output = model(images)
        features = model.backbone(crop_and_resize(model.normalise(images), whole_image_boxes(images)[:, None], 64))
        with model.backbone.capture("layer4.0", features) as earlier:
            model.backbone(crop_and_resize(model.normalise(images), whole_image_boxes(images)[:, None], 64))
    assert output.part_boxes is not None and output.part_boxes.shape == (4, count, 4)
    torch.testing.assert_close(output.object_boxes, 2 * aolm_boxes(features, earlier[0], (64, 64)))
    torch.testing.assert_close(output.heatmaps, features.sum(1))


def test_parts_by_contribution_lie_where_the_class_has_its_score_from() -> None:
    """The best window of half the side, found by looking at each of them, on the map that V's row makes."""
    model = small(localizer="none", parts="contribution", attention="none", image_size=128, source_size=128)
    images = pictures(4, 128, 128)
    x = (images.float() / 255 - model.mean) / model.std
    with torch.no_grad():
        output = model(images)
        features = model.backbone(x)  # (4, 512, 4, 4)
    weights = model.classifier.weight.detach()[output.raw_logits.argmax(1)]
    cells = (weights[:, :, None, None] * features).sum(1).relu()
    assert output.part_boxes is not None and output.part_boxes.shape == (4, 3, 4)
    for map_of_one, boxes in zip(cells, output.part_boxes, strict=True):
        means = {(x, y): float(map_of_one[y : y + 2, x : x + 2].mean()) for x in range(3) for y in range(3)}
        best = max(means, key=lambda place: means[place])
        assert boxes[0].tolist() == [32.0 * best[0], 32.0 * best[1], 32.0 * best[0] + 64, 32.0 * best[1] + 64]
    assert len({tuple(boxes[0].tolist()) for boxes in output.part_boxes}) > 1


def test_all_three_off_is_the_plain_backbone() -> None:
    model = small(localizer="none", parts="none", attention="none", source_size=64)
    images = pictures(2, 64, 64)
    x = (images.float() / 255 - model.mean) / model.std
    with torch.no_grad():
        expected = model.backbone.network.forward_features(x).mean((2, 3)) @ model.classifier.weight.T
        expected = expected + model.classifier.bias
        output = model(images)
    torch.testing.assert_close(output.raw_logits, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(output.probabilities, expected.softmax(1), rtol=1e-4, atol=1e-5)


def test_labels_are_explained_while_training_only() -> None:
    model = small()
    images = pictures(4)
    labels = torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        assert torch.equal(model(images).object_boxes, model(images, labels).object_boxes)  # type: ignore[arg-type]
        asked = model(images).raw_logits.argmax(1)
        for module in model.modules():  # the mode alone shall differ, not batch normalisation
            module.training = False
        model.training = True
        other = (asked + 1) % 5
        assert not torch.equal(model(images, other).heatmaps, model(images, asked).heatmaps)  # type: ignore[arg-type]


def test_raw_only_runs_the_raw_branch_only() -> None:
    output = small().train()(pictures(2), torch.tensor([0, 1]), raw_only=True)
    assert output.object_logits is None and output.part_logits is None
    torch.testing.assert_close(output.probabilities, output.raw_logits.softmax(1))


def test_every_branch_trains_every_weight() -> None:
    model = small().train()
    for parameter in model.parameters():
        if (
            not parameter.any()
        ):  # the last norm of a block starts at 0, and lets no gradient through to what is before it
            nn.init.normal_(parameter, std=0.1)
    output = model(pictures(2), torch.tensor([0, 1]))
    assert output.object_logits is not None and output.part_logits is not None
    for logits in (output.raw_logits, output.object_logits, output.part_logits):
        model.zero_grad()
        (logits * torch.randn(logits.shape)).sum().backward(retain_graph=True)
        unmoved = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert unmoved == []
    assert output.object_boxes is not None and not output.object_boxes.requires_grad


def test_zoom_steps_are_nested_and_cut_from_the_source() -> None:
    images = pictures(6)
    with torch.no_grad():
        once, twice = small(box_margin=0.0)(images), small(box_margin=0.0, zoom_steps=2)(images)
    assert once.object_boxes is not None and twice.object_boxes is not None
    inside = (twice.object_boxes[:, :2] >= once.object_boxes[:, :2] - 1e-3) & (
        twice.object_boxes[:, 2:] <= once.object_boxes[:, 2:] + 1e-3
    )
    assert inside.all()
    assert not torch.equal(once.object_boxes, twice.object_boxes)


def test_the_margin_widens_the_crop_and_not_the_box() -> None:
    images = pictures(6)
    with torch.no_grad():
        tight, wide = small(box_margin=0.0)(images), small(box_margin=0.2)(images)
    assert torch.equal(tight.object_boxes, wide.object_boxes)  # type: ignore[arg-type]
    narrow = (tight.object_boxes[:, 2:] - tight.object_boxes[:, :2] < 128).any(1)  # type: ignore[index]
    assert narrow.any()
    assert not torch.equal(tight.object_logits[narrow], wide.object_logits[narrow])  # type: ignore[index]


def test_a_second_zoom_leaves_the_localisers_statistics_to_raw_images() -> None:
    once = small(localizer="foreground").train()
    twice = small(localizer="foreground", zoom_steps=2).train()
    images, labels = pictures(4), torch.arange(4)
    once(images, labels)
    twice(images, labels)
    assert twice.localizer is not None and twice.localizer.training
    for one, other in zip(once.localizer.buffers(), twice.localizer.buffers(), strict=True):  # type: ignore[union-attr]
        assert torch.equal(one, other)


def test_each_view_keeps_statistics_of_its_own() -> None:
    model = small(norm_statistics="own").train()
    shared = small(norm_statistics="shared").train()
    images, labels = pictures(4), torch.arange(4)
    first, same = model(images, labels), shared(images, labels)
    torch.testing.assert_close(first.part_logits, same.part_logits)  # while training, batches' own statistics count
    norms = [module for module in model.modules() if isinstance(module, ViewNorm2d)]
    assert norms and not any(isinstance(module, ViewNorm2d) for module in shared.modules())
    for norm in norms:
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert not torch.equal(norm.means[one], norm.means[other])
    model.train()(images, labels, raw_only=True)
    before = [norm.means.clone() for norm in norms]
    model(images, labels, raw_only=True)
    for norm, means in zip(norms, before, strict=True):
        assert torch.equal(norm.means[1:], means[1:]) and not torch.equal(norm.means[0], means[0])


def test_pretrained_statistics_stay_as_they_were_while_training() -> None:
    model = small(norm_statistics="pretrained").train()
    images, labels = pictures(4), torch.arange(4)
    before = {name: buffer.clone() for name, buffer in model.backbone.named_buffers()}
    trained = model(images, labels)
    assert any(name.endswith("means") for name in before)
    for name, buffer in model.backbone.named_buffers():
        assert torch.equal(buffer, before[name]), name
    assert torch.equal(trained.raw_logits, model.eval()(images).raw_logits)
    assert trained.raw_logits.requires_grad


def test_bytes_and_fractions_are_the_same_picture() -> None:
    images = pictures(2)
    model = small()
    with torch.no_grad():
        torch.testing.assert_close(model(images).raw_logits, model(images.float() / 255).raw_logits)


def test_head_parameters_are_classifier_and_attention() -> None:
    model = small()
    heads = {id(p) for p in model.head_parameters()}
    names = {name for name, p in model.named_parameters() if id(p) in heads}
    assert {"classifier.weight", "classifier.bias"} < names
    assert all("classifier" in name or ".se." in name for name in names)


def test_what_cannot_be_built_says_so() -> None:
    with pytest.raises(ModelError, match="Did you mean 'resnet18'"):
        build_model(SMALL.model_copy(update={"backbone": "resnet_18"}), 3)
    for name, message in [
        ("layer5", "no module 'layer5'"), ("global_pool", "runs 0 times"), ("fc", "no module|runs 0 times"),
    ]:  # fmt: skip
        with pytest.raises(ModelError, match=message):
            small(heatmap_layer=name)
    with pytest.raises(ModelError, match=r"cannot build .resnet18\.a1_in1."):
        build_model(SMALL.model_copy(update={"backbone": "resnet18.a1_in1"}), 3)
    with pytest.raises(ModelError, match="cannot take 64 pixel images"):
        fixed = {"backbone": "levit_128s", "image_size": 224, "part_size": 64, "attention": "none"}
        build_model(SMALL.model_copy(update=fixed), 3)
    with pytest.raises(ModelError, match="at most 512"):
        small(part_channels=600, part_distinct=False)


def test_an_earlier_layer_leaves_gradients_in_evaluation_and_none_without_asking() -> None:
    model = small(heatmap_layer="layer3")
    model(pictures(2)).raw_logits.sum().backward()
    assert model.classifier.weight.grad is not None
    with torch.no_grad():
        assert not model(pictures(2)).raw_logits.requires_grad
