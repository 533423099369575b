"""Parts where the predicted class gets its score from: windows on the class activation map, apart from each other."""

from __future__ import annotations

from tlaam.models.parts.appm import APPM


class ContributionWindows(APPM):
    """Take the square windows that contribute most to the class the object is given, and that overlap little.

    A cell contributes the ReLU of Σ_k V_ck · A_k (Zhou et al. 2016, arXiv 1512.04150), whose mean over the map is the
    score of class c but for its bias where nothing is negative; the map that it is given is that one, of the object
    image's most probable class.
    """

    explains_class = True

    def __init__(self) -> None:
        super().__init__(windows=[[(0.5, 0.5)], [(0.75, 0.75)]], counts=[2, 1])
