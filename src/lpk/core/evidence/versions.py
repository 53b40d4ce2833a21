"""What a newer version of a paper says differently."""

from __future__ import annotations

from lpk.core.evidence.english.wording import difference
from lpk.core.evidence.records import PaperVersion


def changes(old: PaperVersion, new: PaperVersion) -> dict[str, str]:
    """Field -> word diff, ``[-old words-]{+new words+}``, of each of title, authors, abstract and licence that changed."""
    said = {
        "title": (old.title, new.title),
        "authors": (", ".join(old.authors), ", ".join(new.authors)),
        "abstract": (old.abstract, new.abstract),
        "licence": (old.licence, new.licence),
    }
    return {name: difference(*pair).diff for name, pair in said.items() if pair[0] != pair[1]}
