"""Asks every sidecar of a mesh on this machine for what it has counted."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from core.errors import MeshError
from core.manager.paths import agent_directory, agent_socket
from core.model.service import WorkloadKey
from istioctl.demo.prometheus import Sample, parse
from istioctl.demo.traffic import NAMES
from proxy.envoy_process import Files
from proxy.health import Admin

PATIENCE = 2.0
"""Seconds; one that does not answer by then is left out this time."""

METRICS = "/stats/prometheus"


async def scrape(state: Path, workloads: Iterable[WorkloadKey]) -> dict[str, Sample]:
    """By the names of those that answered."""
    keys = tuple(workloads)
    answers = await asyncio.gather(*(_ask(state, key) for key in keys))
    return {str(key): sample for key, sample in zip(keys, answers, strict=True) if sample is not None}


async def _ask(state: Path, key: WorkloadKey) -> Sample | None:
    """Of the agent, else of Envoy itself."""
    for socket in (agent_socket(state, key), Files(agent_directory(state, key)).admin):
        try:
            answer = await Admin(str(socket), timeout=PATIENCE).get(METRICS)
        except MeshError:
            continue
        if answer.status == 200:
            return parse(answer.text, names=NAMES)
    return None
