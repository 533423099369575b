"""Every family of timm as a backbone: are its pooled features timm's own, and does the two-level model run on it?

A family is a module of `timm.models`; its smallest member stands for it, and `EXTRA` names members that are of another
kind within their family. Of each:

1. timm's network gets random weights, is saved with its classifier, and is loaded into a backbone as a user's file is.
2. The network's last map is compared with timm's ``forward_features(x)``, and the mean of the backbone's map with
   timm's features, ``forward_head(forward_features(x), pre_logits=True)``, in float32 on a random image. Where these
   differ, because the head does more than pool and normalise, the backbone has to say so.
3. A two-level forward of two images, with localisers `oaam` and `foreground`, MPALM and LCAM.

Networks run in a process of their own, so that one that breaks it is a line in the results. What is measured is written
after each; the same command continues.

    python benchmarks/timm_sweep.py --out benchmarks/results/timm-sweep.json
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import nn

from tlaam.config.sections import ModelConfig
from tlaam.errors import TlaamError
from tlaam.models.backbone import Backbone
from tlaam.models.build import build_model
from tlaam.models.pretrained import load_pretrained
from tlaam.runs.environment import commit, versions

EXTRA = (
    "beitv2_base_patch16_224", "coat_lite_tiny", "convnext_atto", "convnextv2_atto", "deit3_small_patch16_224",
    "deit_tiny_distilled_patch16_224", "efficientnet_b0", "eva02_tiny_patch14_224", "efficientvit_l1", "ghostnetv2_100",
    "halonet26t", "hiera_small_abswin_256", "lambda_resnet26t", "levit_conv_128s", "maxvit_rmlp_pico_rw_256",
    "mixer_s32_224", "mobilenetv3_small_050", "mobilenetv4_conv_small_035", "mobilenetv4_hybrid_medium", "pit_s_224",
    "pit_ti_distilled_224", "resmlp_12_224", "resnet18", "resnet50_clip", "resnetv2_50", "sam2_hiera_tiny",
    "semnasnet_050", "test_convnext2", "test_convnext3", "test_vit2", "test_vit3", "test_vit4", "tf_efficientnet_lite0",
    "vit_base_patch16_siglip_224", "vit_little_patch16_reg1_gap_256", "vit_medium_patch16_gap_240",
    "vit_relpos_small_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3",
    "vit_small_patch16_rope_mixed_224", "vit_srelpos_small_patch16_224", "vit_wee_patch16_reg1_gap_256",
    "xcit_tiny_12_p16_224",
)  # fmt: skip
MOST = 40_000_000
"""Parameters; a family without a smaller member is stood for by its smallest all the same."""
SAME = 1e-4
"""Largest difference of equal features, as a share of the largest value; rounding stays far below."""
_TOO_LARGE = re.compile(r"large|huge|giant|gigantic|enormous|xlarge|so400m|\d[b_]*billion")
_PATIENCE = 600
"""Seconds for one network."""


def members() -> dict[str, str]:
    """Return the smallest network of each family by parameters, and the extra ones: names to families."""
    chosen = {}
    for family in timm.list_modules():
        names = timm.list_models(module=family)
        counts = {name: _count(name) for name in [n for n in names if not _TOO_LARGE.search(n)] or names}
        chosen[min(counts, key=lambda name: counts[name])] = family
    of_family = {name: family for family in timm.list_modules() for name in timm.list_models(module=family)}
    return {**chosen, **{name: of_family[name] for name in EXTRA if name in of_family}}


def _count(name: str) -> float:
    try:
        with torch.device("meta"):
            return float(sum(each.numel() for each in timm.create_model(name, num_classes=0).parameters()))
    except Exception:  # some cannot be built without memory
        return float("inf")


def measure(name: str) -> dict[str, Any]:
    """Return what is found of one network."""
    try:
        return _measure(name)
    except TlaamError as error:
        return {"outcome": "refused", "line": str(error)}
    except Exception:
        return {"outcome": "trace", "trace": traceback.format_exc()[-2000:]}


def _measure(name: str) -> dict[str, Any]:
    torch.manual_seed(0)
    reference = timm.create_model(name, pretrained=False).eval()
    size = int(reference.pretrained_cfg["input_size"][-1])
    if size > 288 and not reference.pretrained_cfg.get("fixed_input_size"):
        size = 224
    found: dict[str, Any] = {"size": size, "parameters": sum(p.numel() for p in reference.parameters())}
    _scatter(reference)
    backbone = Backbone(name, size)
    remark = " ".join(backbone.remarks)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save({"state_dict": reference.state_dict()}, path)
        found["weights"] = load_pretrained(backbone.eval(), str(path))
    x = torch.randn(1, 3, size, size)
    with torch.no_grad():
        features = reference.forward_features(x)
        own = reference.forward_head(features, pre_logits=True)
        pooled = backbone(x).mean((2, 3))
        found["last map"] = _relative(cast("Any", backbone.network).forward_features(x), features)
    found["channels"] = pooled.shape[1]
    if own.shape == pooled.shape:
        found["difference"] = float((own - pooled).abs().max())
        found["relative"] = _relative(pooled, own)
    equal = max(found.get("relative", 1.0), found["last map"]) < SAME
    said = remark and found["last map"] < SAME
    found["outcome"] = "equal" if equal else "differs" if said else "differs unsaid"
    found["remark"] = remark
    options: dict[str, Any] = {}
    for localizer in ("oaam", "foreground"):
        if found["parameters"] > MOST:
            found[localizer] = "too large to be tried"
        else:
            found[localizer], options = _two_levels(name, size, localizer, options)
    return found


def _relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference as a share of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


def _scatter(network: nn.Module) -> None:
    """Move weights that begin as zeros or ones, or a part that is never reached would pass unseen."""
    for parameter in network.parameters():
        if parameter.ndim <= 1 or parameter.std() == 0:
            with torch.no_grad():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)


def _two_levels(name: str, size: int, localizer: str, first: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return `runs`, with what had to be given for it, or the line or trace that it ends in; and what was given."""
    lines = []
    fixed = {"raw_scale": 1.0, "part_size": size}
    for options in (first, {"attention": "none"}, fixed, {**fixed, "attention": "none"}):
        config = ModelConfig.model_validate(
            {"backbone": name, "image_size": size, "pretrained": "none", "localizer": localizer, **options}
        )
        try:
            with torch.no_grad():
                output = build_model(config, 3).eval()(torch.randint(0, 256, (1, 3, 300, 300), dtype=torch.uint8))
            assert output.part_logits is not None and output.probabilities.isfinite().all()
        except TlaamError as error:
            lines.append(str(error))
            continue
        except Exception:
            return f"trace: {traceback.format_exc()[-1500:]}", options
        given = " ".join(f"{option}={value}" for option, value in options.items())
        reason = f"; without: {lines[-1]}" if lines else ""
        return f"runs{f' with {given}' if given else ''}{reason}", options
    return f"refused: {lines[-1]}", {}


def worker() -> None:
    """Answer names of networks on standard input with lines of JSON."""
    warnings.filterwarnings("ignore")
    for line in sys.stdin:
        began = time.perf_counter()
        found = measure(line.strip())
        print(json.dumps({**found, "seconds": round(time.perf_counter() - began, 1)}), flush=True)


class _Worker:
    """A process that measures, made anew where it ended."""

    process: subprocess.Popen[str] | None = None

    def ask(self, name: str) -> dict[str, Any]:
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, __file__, "--worker"]
            self.process = subprocess.Popen(
                ["timeout", str(_PATIENCE * 100), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            return {"outcome": "trace", "trace": f"the process ended with {self.process.wait()}"}
        return dict(json.loads(answer))


def counted(networks: dict[str, dict[str, Any]]) -> dict[str, int]:
    """Return how many networks came to each outcome, and in how many the two-level model runs."""
    outcomes = [found["outcome"] for found in networks.values()]
    counts = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
    for localizer in ("oaam", "foreground"):
        ends = [found.get(localizer, "").partition(" ")[0].rstrip(":") for found in networks.values()]
        counts |= {f"{localizer} {end}": ends.count(end) for end in sorted(set(ends)) if end}
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/timm-sweep.json"))
    parser.add_argument("--only", help="comma-separated names, measured anew")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker()
    record = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"networks": {}}
    if "members" not in record:
        record["members"] = members()
    asked = (
        arguments.only.split(",") if arguments.only else [n for n in record["members"] if n not in record["networks"]]
    )
    process = _Worker()
    for name in asked:
        found = process.ask(name)
        record["networks"][name] = {"family": record["members"].get(name, ""), **found}
        print(name, found["outcome"], found.get("line") or found.get("relative"), found.get("oaam"), flush=True)
        record |= {
            "command": "python benchmarks/timm_sweep.py",
            "commit": commit(),
            "versions": versions(),
            "counts": counted(record["networks"]),
        }
        arguments.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
