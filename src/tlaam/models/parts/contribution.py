"""Parts that contribute most to the predicted class: windows on the class activation map that overlap little."""

from __future__ import annotations

from tlaam.models.parts.appm import APPM


class ContributionWindows(APPM):
    """Choose the square windows that contribute most to the object's predicted class and overlap little.

    A cell contributes the ReLU of Σ_k V_ck · A_k (Zhou et al. 2016, arXiv 1512.04150). If nothing is negative, the mean
    of these over the map is the score of class c without its bias. The input is this map for the most probable class of
    the object image.
    """

    explains_class = True

    def __init__(self) -> None:
        super().__init__(windows=[[(0.5, 0.5)], [(0.75, 0.75)]], counts=[2, 1])
