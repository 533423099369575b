"""The base of models without a network: what `tlaam.inference.backend.Backend` asks for besides an answer."""

from __future__ import annotations

from typing import Any

from tlaam.data.depth import Depth


class StubModel:
    """A model that nothing is known of."""

    classes: tuple[str, ...] = ("crow", "jay")
    source_size = 32
    precision = "32-true"
    draws_maps = False
    checksum = "0" * 64
    index = detector = None
    depth = Depth()

    def ready(self, device: Any, precision: Any) -> Any:
        """Be ready as it is."""
        return self

    def compiled(self, batch_size: int) -> Any:
        """Be compiled as it is."""
        return self

    def with_trained(self, trained: Any) -> Any:
        """Keep nothing."""
        return self
