"""All campaigns by name. A module of a new one is added here."""

from __future__ import annotations

from collections.abc import Callable

from torture.attempts import Campaign
from torture.damage import Damage
from torture.images import Images
from torture.kills import Kills
from torture.manifests import Manifests
from torture.metadata import Metadata
from torture.models import Models
from torture.numbers import Numbers
from torture.server import Server
from torture.surroundings import Surroundings

CAMPAIGNS: dict[str, Callable[[], Campaign]] = {
    campaign.name: campaign
    for campaign in (Images, Manifests, Metadata, Models, Numbers, Kills, Damage, Surroundings, Server)
}
