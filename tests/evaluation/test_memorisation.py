from dataclasses import replace

from factory import spec
from reports import NEAR, REPORT, interval
from sfumato.evaluation.memorisation import card_section, into_card
from sfumato.models.card import model_card


def test_a_verdict_by_chance_not_by_share():
    many = replace(NEAR, share=interval(0.2, 0.1, 0.3), chance=0.5)
    assert "20.0% of the samples" in many.verdict
    assert "the nearest 1.0% of real pictures" in many.verdict
    assert "No sign of copies" in many.verdict
    few = replace(NEAR, share=interval(0.03, 0.01, 0.05), chance=0.0004)
    assert "luck alone does that in 0.0004 of cases" in few.verdict
    assert "look at the pairs" in few.verdict


def test_the_section_of_a_card():
    assert REPORT.memorisation is not None
    lines = card_section(REPORT.memorisation)
    assert lines[0] == "## Memorisation"
    text = "\n".join(lines)
    for fact in ("40 samples (seeds 0…39, ddim, 4 steps", "40 training pictures of squares", "So near is near."):
        assert fact in text
    rows = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in rows} == {6}
    assert rows[2] == "| pixels | 10.0% [5.0%, 15.0%] | 0.002 | 50.0% [50.0%, 150.0%] | 60.0% [50.0%, 150.0%] |"
    assert len(rows) == 4


def test_into_a_card_once_and_before_the_limits():
    assert REPORT.memorisation is not None
    card = model_card(spec())
    once = into_card(card, REPORT.memorisation)
    assert once.replace("\n".join(card_section(REPORT.memorisation)) + "\n\n", "") == card
    assert once.index("## Training") < once.index("## Memorisation") < once.index("## Intended use")
    assert into_card(once, REPORT.memorisation) == once
    newer = replace(REPORT.memorisation, spaces=(replace(NEAR, chance=0.77),))
    assert into_card(once, newer) == into_card(card, newer)
    assert "0.77" in into_card(once, newer)
    assert into_card("# mine\n", newer).startswith("# mine\n## Memorisation\n")
    assert into_card("", newer).startswith("## Memorisation\n")
