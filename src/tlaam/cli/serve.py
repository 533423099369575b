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
    """Serve the predictions of MODEL over HTTP.

    MODEL is a run folder, an ONNX file written by `tlaam export`, or hf://owner/name. POST an image, or a form with
    several, to /v1/predict. The other endpoints are /v1/model, /healthz, /readyz, /metrics and /openapi.json.

    Everyone who can reach the address can use the service. Without --host, that is only this machine.
    """
    serve_model(model, options)
