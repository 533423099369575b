"""HTML pages: of a run, of an evaluation, and the page they share."""
