"""``tlaam serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tlaam.cli.options import MODEL
from tlaam.cli.serving import serve_model, serving_options


@click.command()
@click.argument("model", type=MODEL)
@serving_options
def serve(model: Path | str, **options: Any) -> None:
    """Answer over HTTP with MODEL: an ONNX file that `tlaam export` wrote, the folder of a run, or hf://owner/name.

    POST an image, or a form of several, to /v1/predict; /v1/model, /healthz, /readyz, /metrics and /openapi.json say
    the rest. Whoever reaches the address may ask: it is this machine alone unless --host says otherwise.
    """
    serve_model(model, options)
