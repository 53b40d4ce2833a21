"""Audit rules: each finds the mutants that were made for it, none finds anything where nothing is wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_plugins import distribution, entry_points
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import DIRECTION
from second_ledger import second

from lpk.core.contracts import Options
from lpk.core.errors import PluginError, UsageError
from lpk.core.evidence.audit import audit, full_audit, rules
from lpk.core.evidence.contracts import Finding, Rule
from lpk.core.evidence.ledger import Snapshot
from lpk.core.evidence.policy import Policy
from lpk.core.evidence.records import PaperVersion, Record, Screening, Withdrawal
from lpk.core.registry import Registry, installed
from lpk.testing import checks
from lpk.testing.mutants import MUTANTS, OUT, SHA, B, Material, Mutant, _gone, _proved, clean, try_rules

ROOT = Path(__file__).parent.parent
RULES = {rule.id: rule for rule in rules(installed())}


# -- mutants ----------------------------------------------------------------------------------------------------------


def test_nothing_is_found_where_nothing_is_wrong_and_no_rule_passes_without_looking() -> None:
    found = audit(clean().snapshot(), list(RULES.values()))
    assert [(rule.rule, finding.message) for rule in found.rules for finding in rule.findings] == []
    assert [rule.rule for rule in found.rules if rule.count == 0] == []
    assert found.ready


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.rule}: {mutant.what}")
def test_a_rule_finds_its_mutants(mutant: Mutant) -> None:
    made = mutant.make(clean())
    assert made.digest() != clean().digest()
    (examined,) = audit(made.snapshot(), [RULES[mutant.rule]]).rules
    assert examined.findings
    for finding in examined.findings:
        assert finding.message
        assert finding.subjects, "a finding names what it is about"


def test_the_mutants_with_a_proof_differ_from_one_that_covers_the_row() -> None:
    (examined,) = audit(_gone(_proved(clean()), SHA[B]).snapshot(), [RULES["R-QUOTE-7"]]).rules
    assert (examined.count, examined.findings) == (3, ())


def test_every_rule_has_mutants_and_the_rate_is_whole() -> None:
    counts = Counter(mutant.rule for mutant in MUTANTS)
    assert counts.keys() == RULES.keys()
    assert min(counts.values()) >= 2
    assert len({(mutant.rule, mutant.what) for mutant in MUTANTS}) == len(MUTANTS)
    tested = try_rules(RULES.values())
    assert tested.killed == f"{len(MUTANTS)}/{len(MUTANTS)}"
    assert (tested.survived, tested.alarms, tested.blind) == ((), (), ())


def test_a_blind_rule_is_told_by_its_mutants() -> None:
    class Blind(type(RULES["R-NUM-1"])):  # type: ignore[misc]
        def examine(self, ledger: Snapshot, subject: str) -> Iterator[Finding]:
            return iter(())

    tested = try_rules([Blind(Options())])
    assert tested.killed == "0/2"
    assert all(each.startswith("R-NUM-1: ") for each in tested.survived)


def test_the_hash_of_the_mutants_changes_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from lpk.testing import mutants

    before = mutants.mutants_hash.__wrapped__()
    monkeypatch.setattr(mutants, "MUTANTS", MUTANTS[1:])
    assert mutants.mutants_hash.__wrapped__() != before


# -- false alarms -----------------------------------------------------------------------------------------------------


def test_nothing_is_found_in_another_ledger_in_which_nothing_is_wrong() -> None:
    found = audit(second().snapshot(), list(RULES.values()))
    assert [(rule.rule, finding.message, finding.subjects) for rule in found.rules for finding in rule.findings] == []
    assert found.ready


HARMLESS = (
    "All rows of an attention matrix sum to one.",
    "Every claim in this text has an id.",
    "Some rows are background, e.g. r-trade.",
    "No claims are contested.",
    "None of the rows are rejected.",
    "Not every paper was read: 2401.10774v1 could not be had.",
    "Layers with a similarity above 0.9 are merged.",
    "LaCo merges while its threshold is at least 0.45.",
    "The Jaccard index of two masks is at least 0.6.",
    "The cost was between $5 and $7 a run.",
    "We quote “speculative decoding … 2.1 tokens per step” with an elision.",
    "Perplexity rose to 1024.1234 in one run.",
    "See Table 2. See Table 3.",
    "Round 1: pass, 8 rules. Round 2: pass, 6 rules.",
    "It was not screened in: arxiv:2302.01318. It was not screened in: arxiv:2310.18813.",
    "| Rule | What must hold |\n|---|---|\n| R-X-1 | All rows have a quote of $4\\times$ {{ words }} |",
    "Page 2 has the quote of c-code. Page 3 has the quote of c-one.",
    "The 4-layer model has a perplexity of 52. The 8-layer model has a perplexity of 99.",
    "25% sparsity keeps 90% of the accuracy. 50% sparsity keeps 70% of the accuracy.",
    "Accuracy falls by 3 points when 4 layers are removed. Accuracy falls by 9 points when 8 layers are removed.",
    "SmolLM2-135M keeps 90% of its accuracy. SmolLM2-360M keeps 95% of its accuracy.",
    "The paper reports that latency falls by 48% at a batch size of 1 (c-one).",
    "It has 3 authors. It has 6 authors.",
    "Of these, 2 studies were older and 1 was a survey.",
    "| Paper | Results |\n|---|---|\n| 2310.18813v1 | latency falls by 48% (c-one) |",
    "| Paper | Energy |\n|---|---|\n| 2310.18813v1 | not stated |",
    "Verified rows: 9/9",
    "Verification of 9 rows: pass",
    "The draft was generated on 2026-05-20.",
    "Generation is deterministic when the temperature is 0.",
    "An independent study confirmed it.",
    "RQ2 is answered by c-one and c-many.",
)


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_sentences_raise_no_alarm(text: str) -> None:
    found = audit(second().said(text, "## 5 Conclusion").snapshot(), list(RULES.values()))
    assert [(rule.rule, finding.message) for rule in found.rules for finding in rule.findings] == []


@pytest.mark.parametrize("name", ["examples/ledger/2604.24938v1.md", "docs/performance.md", "docs/architecture.md"])
def test_real_texts_raise_no_alarm_but_for_papers_that_the_ledger_does_not_know(name: str) -> None:
    """A whole paper (CC0), and 20,000 characters about other things, as a part of the draft."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = audit(second().said(f"# Another text\n\n{text}", "## 5 Conclusion").snapshot(), list(RULES.values()))
    alarms = [(rule.rule, each.message) for rule in found.rules for each in rule.findings]
    assert [alarm for alarm in alarms if alarm[0] not in ("R-CITE-1", "R-FILE-1")] == []


WORDS = [
    "layers",
    "removing",
    "keeps",
    "lowers",
    "raises",
    "of",
    "the",
    "4",
    "8",
    "50%",
    "2.1",
    "SmolLM2",
    "accuracy",
    "perplexity",
    "not",
    "at",
    "under",
    "when",
]


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join))
def test_no_statement_contradicts_itself(text: str) -> None:
    from lpk.core.evidence.english.conflicts import conflict

    assert conflict(text, text) == ""


@given(*(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join) for _ in "ab"))
def test_contradicting_is_mutual(one: str, other: str) -> None:
    from lpk.core.evidence.english.conflicts import conflict

    assert bool(conflict(one, other)) == bool(conflict(other, one))


# -- no ledger breaks a rule ------------------------------------------------------------------------------------------

JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from(["n/a", "pass", "c-cost"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["claims", "claim", "score", "n", "policy", "floor", "supported"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
PIECES = sorted(
    {
        *clean().artifacts["paper/paper.md"].split(),
        "|",
        "\n",
        "\n\n",
        "# ",
        "```",
        "- ",
        "[^1]",
        "[^1]: ",
        "0/0",
        "…",
        "$",
    }
)


@settings(max_examples=60)
@given(st.data())
def test_no_ledger_breaks_a_rule(data: st.DataObject) -> None:
    """Records left out or in any order, artifacts of any content: a rule finds something or nothing, and never fails."""
    records = data.draw(st.lists(st.sampled_from(clean().records), unique_by=repr, max_size=25))
    artifacts = {
        "paper/paper.md": " ".join(data.draw(st.lists(st.sampled_from(PIECES), max_size=60))),
        "paper/proof.json": json.dumps(data.draw(JSONS)),
        "production_run.json": data.draw(st.sampled_from(["", "{", json.dumps(data.draw(JSONS))])),
        "evidence_matrix.csv": data.draw(
            st.sampled_from(["", "row_id\nr-cost", '"', "claim_id,row_id,x\n,r-cost,y,z"])
        ),
    }
    made = replace(clean(), records=tuple(records), artifacts=artifacts)
    found = audit(made.snapshot(), list(RULES.values()))
    for rule in found.rules:
        assert all(finding.subjects for finding in rule.findings), rule.rule


# -- remedies: nothing is deleted, so what is wrong must be mended by what is written later ----------------------------

AGAIN = PaperVersion.model_validate(clean().records[3].model_dump())
MENDED: dict[str, tuple[Record, ...]] = {
    "R-LINK-1: a claim without a row": (Withdrawal(what="c-cost", reason="no evidence"),),
    "R-LINK-2: a row of a version that is not there": (Withdrawal(what="r-reason", reason="wrong version"),),
    "R-LINK-3: an orphan document": (AGAIN.model_copy(update={"version": "v9"}),),
    "R-TWIN-1: two papers with one id": (AGAIN,),
    "R-TWIN-1: one id, other authors": (Withdrawal(what=B, reason="two papers"),),
    "R-TWIN-2: one paper with two ids": (Withdrawal(what="s2:77", reason="the same as " + B),),
    "R-TWIN-3: a claim stated twice": (Withdrawal(what="c-cost", reason="twice"),),
    "R-TWIN-3: a quote counted twice": (Withdrawal(what="r-again", reason="twice"),),
    "R-VER-1: a newer version": (Withdrawal(what="r-reason", reason="of v1"),),
    "R-VER-2: a withdrawn paper": (
        Screening(paper=B, decision="exclude", reason="withdrawn", note="by its authors"),
        Withdrawal(what="r-reason", reason="its paper was withdrawn"),
    ),
    "R-META-2: no address": (AGAIN,),
    "R-SCORE-1: a quote of one word": (Withdrawal(what="r-cost", reason="one word"),),
    "R-QUOTE-2: an altered quote": (Withdrawal(what="r-cost", reason="altered"),),
    "R-FID-1: another number": (clean().records[12],),
    "R-CLAIM-1: background as a finding": (clean().records[12],),
    "R-SCOPE-1: another object, in by its category": (
        Screening(paper=OUT, decision="exclude", reason="not-llm", criterion="E1"),
    ),
    "R-SCOPE-3: no criterion": (clean().records[7],),
    "R-SCREEN-1: a paper nobody screened": (
        Screening(paper=OUT, decision="exclude", reason="not-llm", criterion="E1"),
    ),
    "R-SCREEN-2: evidence from an excluded paper": (Withdrawal(what="r-reason", reason="its paper is out"),),
    "R-COVER-2: an anchor that nobody screened": (
        AGAIN.model_copy(update={"paper": "arxiv:2312.00005", "title": "An anchor", "references": ()}),
        Screening(paper="arxiv:2312.00005", decision="background", reason="survey", criterion="B1"),
    ),
    "R-CONTRA-1: a verified row against it": (Withdrawal(what="r-against", reason="of another model"),),
    "R-CONTRA-2: another outcome": (Withdrawal(what="c-other", reason="wrong"),),
}


@pytest.mark.parametrize("what", MENDED)
def test_what_a_rule_finds_can_be_mended_by_what_is_written_later(what: str) -> None:
    (mutant,) = [mutant for mutant in MUTANTS if f"{mutant.rule}: {mutant.what}" == what]
    rule = [RULES[mutant.rule]]
    wrong = mutant.make(clean())
    assert audit(wrong.snapshot(), rule).rules[0].findings
    assert not audit(wrong.plus(*MENDED[what]).snapshot(), rule).rules[0].findings


# -- purity and order -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [clean(), *(mutant.make(clean()) for mutant in MUTANTS[::9])], ids=Material.digest)
def test_an_audit_is_a_pure_function_of_the_ledger(made: Material) -> None:
    ledger = made.snapshot()
    before = _state(ledger)
    found = audit(ledger, list(RULES.values()))
    assert _state(ledger) == before
    assert audit(ledger, list(RULES.values())[::-1]).rules == found.rules[::-1]
    assert audit(made.snapshot(), list(RULES.values())) == found


def _state(ledger: Snapshot) -> str:
    papers = [(paper.versions, paper.documents, paper.withdrawn) for paper in ledger.papers.values()]
    checked = {row: [each.verification for each in held] for row, held in ledger.verifications.items()}
    return repr(
        [
            ledger.direction,
            ledger.policy,
            ledger.claims,
            ledger.rows,
            papers,
            checked,
            ledger.withdrawals,
            ledger.artifacts,
        ]
    )


def test_what_the_audit_said_before_does_not_change_what_it_says() -> None:
    reported = replace(
        clean(), artifacts={**clean().artifacts, "audit_report.json": '{"gate": "blocked"}', "audit_report.md": "fail"}
    )
    assert audit(reported.snapshot(), list(RULES.values())).ready


# -- the conformance kit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", RULES)
def test_conformance(code: str) -> None:
    for check in checks("rule", f"lpk/{code.lower()}"):
        if check.name != "import-is-light":  # once for each module, below
            check()


@pytest.mark.parametrize("module", sorted({type(rule).__module__ for rule in RULES.values()}))
def test_importing_rules_is_light(module: str) -> None:
    code = next(rule.id for rule in RULES.values() if type(rule).__module__ == module)
    next(check for check in checks("rule", code.lower()) if check.name == "import-is-light")()


BROKEN = {
    "says-what-it-is": ("X-FOO-1", "remedy", "", "it does not say its remedy"),
    "examines-every-ledger": ("X-FOO-1", "", "yield 'foo'", "no Finding"),
    "no-false-alarm": ("X-FOO-1", "", "yield Finding('foo', (subject,))", "nothing is wrong: foo"),
}


@pytest.mark.parametrize("promise", BROKEN)
def test_the_kit_finds_what_is_broken(promise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    code, without, body, why = BROKEN[promise]
    registry = stranger(tmp_path, f"broken_{promise.replace('-', '_')}", code, body or "return iter(())")
    if without:
        rule = registry.find("rule", "mine").create()
        monkeypatch.setattr(type(rule), without, " ")
    (check,) = [each for each in checks("rule", "mine", registry) if each.name == promise]
    with pytest.raises(AssertionError, match=why):
        check()


# -- the gate ---------------------------------------------------------------------------------------------------------


def test_nothing_passes_over_zero_items() -> None:
    empty = audit(Snapshot(DIRECTION, Policy.model_validate({}), ()), list(RULES.values()))
    assert not empty.ready
    assert not audit(clean().snapshot(), []).ready
    assert {rule.verdict for rule in empty.rules if rule.count == 0} <= {"n/a", "fail"}
    for number in range(1, 8):
        assert any(rule.verdict == "fail" for rule in empty.of_round(number)), f"round {number} passes over nothing"


def test_the_policy_says_what_blocks() -> None:
    wrong = next(mutant for mutant in MUTANTS if mutant.rule == "R-RENDER-1").make(clean())
    chosen = [RULES["R-RENDER-1"], RULES["R-CHAIN-1"]]
    assert not audit(wrong.snapshot(), chosen).ready
    for severity, verdict in (("warning", "warn"), ("info", "note")):
        milder = audit(wrong.rule(severities={"R-RENDER-1": severity}).snapshot(), chosen)
        assert milder.ready
        assert next(rule.verdict for rule in milder.rules if rule.rule == "R-RENDER-1") == verdict
    off = audit(wrong.rule(severities={"R-RENDER-1": "off"}).snapshot(), chosen)
    assert off.ready
    assert off.off == ("R-RENDER-1",)


def test_a_policy_about_a_rule_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no rule 'R-NUM-99'; did you mean 'R-NUM-"):
        full_audit(clean().rule(severities={"R-NUM-99": "off"}).snapshot(), installed())


# -- strangers' rules -------------------------------------------------------------------------------------------------

STRANGER = """
import lpk
from lpk.core.contracts import Component
from lpk.core.evidence.contracts import Finding, Rule

class Mine(Rule):
    id, round, title, remedy = "{code}", 8, "Nothing is called foo", "Call it something else."
    def subjects(self, ledger):
        return list(ledger.claims)
    def examine(self, ledger, subject):
        {body}

@lpk.hookimpl
def lpk_rules():
    yield Component("mine", "Nothing is called foo", __name__ + ":Mine")
"""


def stranger(site: Path, module: str, code: str, body: str) -> Registry:
    distribution(site, "lpk-more", "2.0", {module: STRANGER.format(code=code, body=body)}, {"mine": module})
    return Registry.load([*entry_points(site), *(point for point in _own())])


def _own() -> list[Any]:
    from importlib.metadata import entry_points as every

    return [point for point in every(group="lpk") if point.name.startswith("rules-")]


def test_a_strangers_rule_has_a_round_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = stranger(tmp_path, "more_rules", "X-FOO-1", "yield Finding('foo', (subject,))")
    found = full_audit(clean().snapshot(), registry)
    assert found.rounds[-1] == 8
    (mine,) = found.of_round(8)
    assert (mine.plugin, mine.verdict, mine.count) == ("lpk-more/mine", "fail", 4)
    assert found.versions["lpk-more"] == "2.0"


def test_a_rule_that_fails_is_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = stranger(tmp_path, "failing_rules", "X-FOO-1", "1 / 0; yield")
    with pytest.raises(PluginError, match=r"rule X-FOO-1 failed: ZeroDivisionError"):
        full_audit(clean().snapshot(), registry)


def test_two_rules_may_not_have_one_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = stranger(tmp_path, "twin_rules", "R-NUM-1", "yield Finding('foo', (subject,))")
    with pytest.raises(PluginError, match=r"lpk.*/.* have one code, R-NUM-1"):
        rules(registry)


def test_an_audit_does_not_run_with_a_part_of_its_own_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    distribution(tmp_path, "lpk", "9.9", {"broken_rules": "import no_such_module"}, {"rules-broken": "broken_rules"})
    with pytest.raises(PluginError, match=r"rules-broken of lpk 9\.9 is broken"):
        rules(Registry.load(entry_points(tmp_path)))


def test_rules_say_what_they_are() -> None:
    for rule in RULES.values():
        assert isinstance(rule, Rule)
        assert rule.name == f"lpk/{rule.id.lower()}"
        assert 1 <= rule.round <= 7
        assert rule.title[0].isupper() or rule.title.startswith("evidence_matrix")
        assert not rule.title.endswith(".")
        assert rule.remedy.endswith("."), rule.id
