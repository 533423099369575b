"""Serving a model over HTTP: JSON for programs (``tlaam serve``), and a page to try it out (``tlaam demo``)."""
