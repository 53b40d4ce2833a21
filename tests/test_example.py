"""The ledger that lpk ships: audited without a network by the command without arguments, and made from its sources again."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import standards
import warm

from lpk.core.evidence.artifacts.render import RENDERED
from lpk.core.evidence.example import COPY
from lpk.core.evidence.ledger import Ledger
from lpk.core.evidence.states import statuses

ROOT = Path(__file__).parent.parent
SHIPPED = files("lpk.data") / "example-ledger"


def lpk(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return warm.call(arguments, cwd)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``lpk audit`` was run."""
    where = tmp_path_factory.mktemp("fresh")
    done = lpk("audit", cwd=where)
    assert done.returncode == 1, done.stderr
    assert "blocked" in done.stdout
    assert "R-VER-1" in done.stdout
    assert "to mend:" in done.stdout
    return where


def test_it_is_blocked_for_what_is_true(folder: Path) -> None:
    """Its quotes are of a version that two others took the place of; nothing else is an error but that it has no support."""
    report = json.loads((folder / COPY / "audit_report.json").read_text(encoding="utf-8"))
    failing = {
        rule["rule"] for round_ in report["rounds"] for rule in round_["rules"] if rule["verdict"] == "fail"
    }  # fmt: skip
    assert failing == {"R-VER-1", "R-GATE-1"}
    standing = statuses(Ledger(folder / COPY).snapshot())
    assert sorted(found.status for found in standing.values()) == [*["preliminary-linked"] * 4, *["stale"] * 4]


def test_five_claims_were_measured(folder: Path) -> None:
    ledger = Ledger(folder / COPY).snapshot()
    assert len(ledger.replications) == 5
    assert {claim.id for claim in ledger.claims.values() if claim.check} == set(ledger.replications)
    said = {made[-1].verdict for made in ledger.replications.values()}
    assert said <= {"inconclusive", "out of scope", "replicated", "not replicated"}


def test_everything_is_rendered_and_again_the_same(folder: Path) -> None:
    where = folder / COPY
    assert lpk("ledger", "export", cwd=where).returncode == 0
    first = {name: (where / name).read_bytes() for name in RENDERED if name != "paper/proof.json"}
    again = lpk("ledger", "export", cwd=where).stdout
    assert {name: (where / name).read_bytes() for name in first} == first
    assert again.count("(as it was)") == len(first)


def test_what_is_rendered_is_of_its_standards(folder: Path) -> None:
    items = json.loads((folder / COPY / "references.json").read_text(encoding="utf-8"))
    assert items
    for item in items:
        item.pop("custom")  # of CSL 1.0.2; the schema is that of 1.0.1
    standards.check("csl-data-1.0.1", items)
    found = json.loads((folder / COPY / "audit.sarif").read_text(encoding="utf-8"))
    assert found["runs"][0]["results"]
    standards.check("sarif-2.1.0-rtm.5", found)


def test_nothing_is_proved_where_nothing_is_supported(folder: Path) -> None:
    assert lpk("prove", cwd=folder / COPY).returncode == 1


def test_it_is_made_from_its_sources(tmp_path: Path) -> None:
    made = tmp_path / "ledger"
    command = [
        sys.executable,
        ROOT / "examples/ledger/make.py",
        made,
        "--study",
        ROOT / "examples/study/results/families",
    ]
    subprocess.run(command, check=True, capture_output=True)
    assert (SHIPPED / "events.jsonl").read_bytes() == (made / "events.jsonl").read_bytes()
    assert (SHIPPED / "ledger.toml").read_text(encoding="utf-8") == (made / "ledger.toml").read_text(encoding="utf-8")
