"""Both pages against axe-core (https://github.com/dequelabs/axe-core): as they are read, on a phone, in the dark, on paper.

axe-core is not ours to ship: ``npm pack axe-core`` has it. It is looked for as the file that LPK_AXE names, or in
node_modules here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import made_up_study
import pytest
from ledgers import snapshot
from test_dashboard import audit_of, picture, rich_records

from lpk.core.evidence.dashboard.page import page
from lpk.core.study import report

INSTALLED = Path(__file__).parent.parent / "node_modules" / "axe-core" / "axe.min.js"
PAGES = ("index.html", "report.html")
#: A heading of a sortable table is painted by CSS on paper, for a button is not repeated on the next page.
ON_PAPER = {"empty-table-header"}


@pytest.fixture(scope="module")
def axe() -> str:
    named = os.environ.get("LPK_AXE")
    if named is None and not INSTALLED.exists():
        pytest.skip("no axe-core here: npm pack axe-core, and set LPK_AXE to its axe.min.js")
    return Path(named or INSTALLED).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages: a ledger with a claim of every status, and a study with every figure."""
    where = tmp_path_factory.mktemp("pages")
    ledger = snapshot(rich_records())
    shown = page(ledger, audit_of(ledger), {"r-1": picture(), "r-3": picture()})
    (where / "index.html").write_text(shown, encoding="utf-8")
    cells, *rest = made_up_study.tables(budgets=(5,))
    report.write(where, made_up_study.STUDY, cells, *rest, made_up_study.fronts(cells))
    return where


@pytest.mark.parametrize("media", ["screen", "print"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(
    axe: str, browser: Any, folder: Path, name: str, width: int, scheme: str, media: str
) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get((folder / name).as_uri())
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    assert _violations(browser, axe) - (ON_PAPER if media == "print" else set()) == set()


def test_axe_finds_what_is_wrong(axe: str, browser: Any, folder: Path) -> None:
    browser.get((folder / "index.html").as_uri())
    browser.execute_script("document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\"><input>')")
    assert {"image-alt", "label"} <= _violations(browser, axe)


def _violations(browser: Any, axe: str) -> set[str]:
    browser.execute_script(axe)
    found = browser.execute_async_script(
        "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(done, error => done(String(error)))"
    )
    return {violation["id"] for violation in found["violations"]}
