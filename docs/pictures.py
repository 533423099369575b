r"""Make the pictures of docs/how-it-works.md: what one trained network sees of one drawn creature, step by step.

    python docs/pictures.py RUN [--index 5] [--out docs/images]

RUN is a run folder of the two-level model with the foreground head and MPALM, trained on `synthetic`. The pictures that
are there came from

    tlaam train synthetic:classes=6,images_per_class=36 --backbone tf_efficientnet_lite0 --image-size 128 \
        --source-size 384 --epochs 20 --lr 0.02 --classifier-lr 0.02 --val-fraction 0 --keep last

Masks, boxes and crops are made by the package's own functions from what the network answered, and the boxes are held to
that answer.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from tlaam.data.input_image import to_input
from tlaam.data.synthetic import SyntheticOptions, class_names, render
from tlaam.inference.pytorch import TorchModel, infer
from tlaam.inference.store import load_model
from tlaam.models.attention.lcam import LCAM
from tlaam.models.crops import crop_and_resize, resize_whole
from tlaam.models.localization import (
    ThresholdRule,
    heatmap_mask,
    largest_component,
    mask_boxes,
    upsample_heatmap,
    widen_boxes,
)
from tlaam.models.localizers.foreground import Foreground
from tlaam.models.localizers.oaam import OAAM
from tlaam.models.network import OBJECT, TLAAM
from tlaam.models.output import TLAAMOutput
from tlaam.models.parts.mpalm import MPALM, peak_positions
from tlaam.visualization.charts import spread_chart
from tlaam.visualization.panels import OBJECT_COLOR, PART_COLORS, colormap, draw_boxes, overlay_heatmap, part_colors

SIDE = 384
"""Of every picture, in pixels; what the network sees is enlarged to it without smoothing."""
CHANNELS = 20
"""How many channels of LCAM's band are shown."""


def pictures(model: TorchModel, index: int) -> dict[str, Image.Image | str]:
    """Return the pictures of test image `index` by the names of their files; text is SVG."""
    network = model.network
    if not (isinstance(network, TLAAM) and isinstance(network.localizer, Foreground)):
        raise SystemExit("The run must be of the two-level model with the foreground head (localizer=foreground).")
    options = SyntheticOptions(classes=len(model.classes))
    if class_names(options) != model.classes:
        raise SystemExit("The run was not trained on 'synthetic'.")
    input_image = torch.from_numpy(to_input(render(options, "test", index).image, model.source_size))[None]
    source = input_image / 255

    head = network.localizer
    found = infer(network, input_image)
    by_head = mask_picture(source, found, head.threshold, "value", head.upsample)
    made: dict[str, Image.Image | str] = {
        "source.jpg": picture(source),
        "input.jpg": picture(resize_whole(source, network.image_size)),
        "foreground-map.jpg": over(source, found),
        "foreground-box.jpg": by_head,
        **object_and_parts(network, source, found),
        "fusion.svg": fusion_chart(found, model.classes),
        "lcam.png": lcam_picture(network),
    }
    # The paper's own object level on the same weights: it has none of its own.
    oaam = OAAM(threshold=1.0, upsample=1)
    network.localizer = oaam.eval()
    explained = infer(network, input_image)
    made["oaam-cells.png"] = cells(explained)
    made["oaam-map.jpg"] = over(source, explained)
    made["oaam-box.jpg"] = mask_picture(source, explained, oaam.threshold, oaam.rule, oaam.upsample)
    return made


def picture(images: Tensor) -> Image.Image:
    """Return the first of images ``(B, 3, P, P)`` in [0, 1], enlarged so that its pixels are seen."""
    pixels = (images[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def over(source: Tensor, output: TLAAMOutput) -> Image.Image:
    """Return the source image under its heat map."""
    assert output.heatmaps is not None
    return overlay_heatmap(picture(source), output.heatmaps[0].numpy())


def cells(output: TLAAMOutput) -> Image.Image:
    """Return the heat map itself, a square a cell."""
    assert output.heatmaps is not None
    heatmap = output.heatmaps[0] / output.heatmaps[0].max()
    return Image.fromarray(colormap(heatmap.numpy())).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def mask_picture(
    source: Tensor, output: TLAAMOutput, threshold: float, rule: ThresholdRule, upsample: int
) -> Image.Image:
    """Return the source image, dark where the mask is not, paler where its largest component is not, and the box."""
    assert output.heatmaps is not None and output.object_boxes is not None
    masks = heatmap_mask(upsample_heatmap(output.heatmaps, upsample), threshold, rule)
    component = largest_component(masks)
    side = source.shape[2]
    boxes = mask_boxes(component, (side, side))
    torch.testing.assert_close(boxes, output.object_boxes)
    light = 0.3 + 0.3 * masks[0].float() + 0.4 * component[0].float()
    shade = Image.fromarray((light * 255).byte().numpy()).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    shaded = Image.composite(picture(source), Image.new("RGB", (SIDE, SIDE)), shade)
    return draw_boxes(shaded, scaled(boxes[0], SIDE / side), [])


def object_and_parts(network: TLAAM, source: Tensor, output: TLAAMOutput) -> Mapping[str, Image.Image]:
    """Return the object image, the same place of the network's input, the part windows in it, and the parts."""
    assert output.object_boxes is not None and output.part_boxes is not None and isinstance(network.parts, MPALM)
    side, mpalm = source.shape[2], network.parts
    crop = widen_boxes(output.object_boxes, network.box_margin, (side, side))
    looked_at = crop_and_resize(source, crop[:, None], network.image_size)
    share = network.image_size / side
    coarse = crop_and_resize(resize_whole(source, network.image_size), crop[:, None] * share, network.image_size)
    with torch.no_grad():
        features = network.backbone(network.normalise(looked_at), OBJECT)
        windows = mpalm(features, SIDE)[0]
        peaks = peak_positions(features, mpalm.channels, mpalm.response, mpalm.distinct)[0] * SIDE
    boxes = [scaled(box, 1) for box in windows]
    marked = draw_boxes(picture(looked_at), None, boxes)
    draw = ImageDraw.Draw(marked)
    for x, y in peaks.tolist():
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=OBJECT_COLOR, outline=(20, 20, 24), width=2)
    parts = crop_and_resize(source, output.part_boxes, network.part_size, reach=mpalm.reach)
    return {
        "object.jpg": picture(looked_at),
        "object-from-input.jpg": picture(coarse),
        "windows.jpg": marked,
        "parts.jpg": grid(parts, part_colors(boxes)),
    }


def grid(parts: Tensor, colours: list[tuple[int, int, int]]) -> Image.Image:
    """Return part images ``(N, 3, p, p)`` in two columns, framed in their windows' colours, smaller windows first."""
    order = sorted(range(len(parts)), key=lambda part: PART_COLORS.index(colours[part]))
    tile, rows = SIDE // 2, -(-len(parts) // 2)
    sheet = Image.new("RGB", (SIDE, tile * rows), (255, 255, 255))
    for place, part in enumerate(order):
        shown = picture(parts[part : part + 1]).resize((tile - 4, tile - 4), Image.Resampling.NEAREST)
        ImageDraw.Draw(shown).rectangle((0, 0, tile - 5, tile - 5), outline=colours[part], width=4)
        sheet.paste(shown, (2 + place % 2 * tile, 2 + place // 2 * tile))
    return sheet


def lcam_picture(network: TLAAM) -> Image.Image:
    """Return the band matrix of the first channels of the last LCAM: blue below 0, red above, white 0."""
    last = [module for module in network.modules() if isinstance(module, LCAM)][-1]
    half, weight = last.kernel // 2, last.weight.detach()
    band = torch.zeros(CHANNELS, CHANNELS + 2 * half)
    for channel in range(CHANNELS):
        band[channel, channel : channel + last.kernel] = weight[channel]
    band = band[:, half : half + CHANNELS]
    strength = (band / band.abs().max()).numpy()[..., None]
    red, blue = np.array([190, 40, 40]), np.array([40, 90, 190])
    colours = 255 + np.abs(strength) * (np.where(strength > 0, red, blue) - 255)
    matrix = Image.fromarray(colours.round().astype(np.uint8))
    return matrix.resize((SIDE // CHANNELS * CHANNELS,) * 2, Image.Resampling.NEAREST)


def fusion_chart(output: TLAAMOutput, classes: tuple[str, ...]) -> str:
    """Return an SVG of what each branch, and their fusion, gives the three most probable classes."""
    titles = {"raw": "whole image", "object": "object", "parts": "parts", "fused": "fused"}
    answers = output.branch_probabilities()
    rows = [
        (
            classes[label].replace("_", ", ").replace("-", " "),
            {title: (float(answers[branch][0, label]), None) for branch, title in titles.items()},
        )
        for label in output.probabilities[0].argsort(descending=True)[:3].tolist()
    ]
    # The chart is used to show systems.
    return spread_chart(rows, list(titles.values()), alone=640).replace("of 3 systems", "of 3 classes")


def scaled(box: Tensor, factor: float) -> tuple[float, float, float, float]:
    """Return a box ``(4,)`` times a factor."""
    x0, y0, x1, y1 = (box * factor).tolist()
    return x0, y0, x1, y1


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--index", type=int, default=5, help="of the drawn test image")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    given = parser.parse_args()
    for name, made in pictures(load_model(given.run), given.index).items():
        path = given.out / f"step-{name}"
        if isinstance(made, str):
            path.write_text(made, encoding="utf-8")
        elif path.suffix == ".png":
            made.save(path, optimize=True)
        else:
            made.save(path, quality=82, optimize=True)
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
