"""All campaigns by name. A module of a new one is added here."""

from __future__ import annotations

from collections.abc import Callable

from stress.annotations import Annotations
from stress.attempts import Campaign
from stress.containers import Containers
from stress.damage import Damage
from stress.decisions import Decisions
from stress.images import Images
from stress.kills import Kills
from stress.manifests import Manifests
from stress.metadata import Metadata
from stress.models import Models
from stress.numbers import Numbers
from stress.server import Server
from stress.surroundings import Surroundings

CAMPAIGNS: dict[str, Callable[[], Campaign]] = {
    campaign.name: campaign
    for campaign in (
        Images,
        Manifests,
        Containers,
        Metadata,
        Annotations,
        Decisions,
        Models,
        Numbers,
        Kills,
        Damage,
        Surroundings,
        Server,
    )
}
