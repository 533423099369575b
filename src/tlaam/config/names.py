"""Names that many files share: the branches whose answers are measured and reported."""

from __future__ import annotations

BRANCHES = ("raw", "object", "parts", "fused")
FINAL_BRANCH = "fused"
"""The branch that predictions answer with; per-class measures refer to it."""
