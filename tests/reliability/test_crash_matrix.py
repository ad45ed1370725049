"""Whatever system call a process dies at, or a disk fails at: the published version is whole, and the next build succeeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Points = Callable[[str, str, Path, int], tuple[dict[str, Any], list[dict[str, Any]]]]
SCENARIOS = ("cold", "delta", "rollback", "gc", "repair")
KILLED, ENDED, REFUSED = -9, 0, 10
SAMPLE = {"cold": 4, "delta": 6, "rollback": 3, "gc": 5, "repair": 3}
ALL = {
    "kill": {"cold": 160, "delta": 240, "rollback": 20, "gc": 140, "repair": 60},
    "full": {"cold": 50, "delta": 60, "rollback": 12, "gc": 10, "repair": 30},
    "broken": {"cold": 50, "delta": 60, "rollback": 12, "gc": 40, "repair": 30},
}
"""Points of each scenario, by fault; where there are fewer calls, all of them."""


def wrong(scenario: str, fault: str, first: dict[str, Any], line: dict[str, Any]) -> list[str]:
    """Everything that must hold after a fault and does not."""
    after, before, expected = line["after"], first["before"], first["expected"]
    if after is None or "error" in after:
        return [f"the next build failed: {after}"]
    found, then = after["found"], after["then"]
    answered = found["current"]
    lost = set(before["versions"]) - set(found["versions"])
    held = {
        "the call was reached": line["ended"] != ENDED or fault != "kill",
        "the process ended as it should": line["ended"] in ((KILLED, ENDED) if fault == "kill" else (REFUSED, ENDED)),
        "CURRENT names what was published before or what was being published": found["current"]
        in {before["current"], expected["found"]["current"], after["version"]}
        and (found["current"] is not None or before["current"] is None),
        "every version is whole": not any(found["whole"].values()) or scenario == "repair",
        "no version is lost": not lost or scenario in ("gc", "repair"),
        "what collection keeps stays": scenario != "gc" or lost <= set(before["versions"]) - set(expected["found"]["versions"]),
        "what is published answers": scenario == "repair" or answered == (after["told"] and after["told"]["version"]),
        "the lock is free": not after["building"],
        # Of the very first flip, where CURRENT is not there, nobody can tell whether it happened.
        "flips that happened are noted": not found["flips"]
        or found["flips"][-1] == found["current"]
        or (found["current"] is None and before["current"] is None),
        "earlier flips are kept": found["flips"][: len(before["flips"])] == before["flips"],
        "the next build comes to the same version": after["version"] == expected["version"] == then["current"],
        "the next build leaves everything whole": not any(then["whole"].values()),
        "the next build gives the same answers": after["told_then"] == expected["told_then"],
        "the store holds the same as without the fault": (then["versions"], then["objects"])
        == (expected["then"]["versions"], expected["then"]["objects"]),
        "what was left is swept": not then["leftovers"],
    }
    if fault == "full":
        # What is damaged is set aside before it is built again.
        held["nothing is left after an error"] = scenario == "repair" or set(line["left"]) <= set(before["leftovers"])
        held["room can be made"] = scenario != "gc" or line["ended"] == ENDED
        held["the error says what to do"] = line["said"] is None or "space" in line["said"]["error"]
    return [promise for promise, kept in held.items() if not kept]


def check(scenario: str, fault: str, points: Points, folder: Path, most: int) -> list[dict[str, Any]]:
    first, lines = points(scenario, fault, folder, most)
    assert len(lines) == min(most, len(first["calls"]))
    broken = [(line["point"], line["call"], line["said"], found, line.get("log"))
              for line in lines if (found := wrong(scenario, fault, first, line))]  # fmt: skip
    assert not broken, f"{len(broken)} of {len(lines)} points, such as {broken[:3]}"
    return lines


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_a_system_call_nothing_is_lost_and_the_next_build_succeeds(
    scenario: str, points: Points, tmp_path: Path
) -> None:
    check(scenario, "kill", points, tmp_path / "matrix", SAMPLE[scenario])


@pytest.mark.parametrize("fault", ["full", "broken"])
def test_a_disk_that_fails_at_a_system_call_is_told_and_nothing_is_lost(fault: str, points: Points, tmp_path: Path) -> None:
    assert any(line["ended"] == REFUSED for line in check("delta", fault, points, tmp_path / "matrix", 6))


@pytest.mark.torture
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("fault", ALL)
def test_nothing_is_lost_whatever_happens_at_any_system_call(fault: str, scenario: str, points: Points, tmp_path: Path) -> None:
    check(scenario, fault, points, tmp_path / "matrix", ALL[fault][scenario])
