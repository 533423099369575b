"""A model behind HTTP: JSON for programs (``tlaam serve``), and a page to try it on (``tlaam demo``)."""
