"""What keeping freed memory and channels-last convolutions do for a training step on the CPU.

    OMP_NUM_THREADS=2 python benchmarks/cpu_memory.py

Each of the four combinations runs in a process of its own, since the C library's choice cannot be taken back; the
rounds are interleaved.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import time

ROUNDS, STEPS = 2, 5


def measure(keep: bool, channels_last: bool) -> list[float]:
    """Return the seconds of training steps after one to warm up."""
    import torch

    from tlaam.config.sections import ModelConfig
    from tlaam.models.build import build_model
    from tlaam.models.network import TLAAM
    from tlaam.utils.allocator import keep_freed_memory

    if keep and not keep_freed_memory():
        sys.exit("this C library cannot be told to keep freed memory")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    config = ModelConfig(
        backbone="tf_efficientnet_lite0", image_size=224, pretrained="none", attention="none", parts="none"
    )
    model = build_model(config, 10).to(memory_format=layout)
    assert isinstance(model, TLAAM)
    images = torch.randn(16, 3, 224, 224).to(memory_format=layout)
    labels = torch.arange(16) % 10
    seconds = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(model.classifier(model.backbone(images)), labels)
        torch.autograd.backward(loss)
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def main() -> None:
    if len(sys.argv) > 1:
        print(*measure(sys.argv[1] == "True", sys.argv[2] == "True"))
        return
    found: dict[tuple[bool, bool], list[float]] = {}
    for _ in range(ROUNDS):
        for keep, channels_last in itertools.product([False, True], repeat=2):
            command = [sys.executable, __file__, str(keep), str(channels_last)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.setdefault((keep, channels_last), []).extend(map(float, output.split()))
    base = statistics.median(found[False, False])
    print("| freed memory kept | channels-last | median s | fastest s | times as fast |\n|---|---|---|---|---|")
    for (keep, channels_last), seconds in found.items():
        median = statistics.median(seconds)
        print(f"| {keep} | {channels_last} | {median:.2f} | {min(seconds):.2f} | {base / median:.2f} |")


if __name__ == "__main__":
    main()
