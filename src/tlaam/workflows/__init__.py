"""Workflows that combine several packages in one call: fit, quickstart, the reference index of a run."""
