"""The arithmetic of the speed measurements: rounds, ratios, tables. No time is measured."""

import json
import os
from pathlib import Path

import pytest
import torch
from bench.speed import machine, report
from bench.speed import profile as profiles
from bench.speed.networks import NETWORKS, check, difference, our_config, ours_of, sizes, their_network
from bench.speed.timing import OURS, Case, alternate, compare, measure

from sfumato.networks.kernels.build import available
from sfumato.networks.unet import UNet


class Clock:
    """Time that only passes where it is told to."""

    def __init__(self):
        self.now, self.runs = 0.0, []

    def side(self, name, *seconds):
        left = list(seconds)

        def run():
            self.runs.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run

    def timed(self, run):
        before = self.now
        run()
        return self.now - before

    def alternate(self, sides, seconds, least=3):
        return alternate(sides, seconds, least, self.timed, lambda: self.now)


def test_sides_take_turns_and_the_first_run_does_not_count():
    clock = Clock()
    times = clock.alternate({OURS: clock.side("a", 9, 1), "b": clock.side("b", 9, 2)}, 0)
    assert "".join(clock.runs) == "ab" + "ab" + "ba" + "ab"
    assert times == {OURS: [1, 1, 1], "b": [2, 2, 2]}


@pytest.mark.parametrize(("seconds", "rounds"), [(0, 2), (6, 2), (8.9, 2), (9, 3), (30.5, 10), (1e9, 51)])
def test_no_round_begins_that_would_end_too_late(seconds, rounds):
    clock = Clock()
    times = clock.alternate({OURS: clock.side("a", 1), "b": clock.side("b", 2)}, seconds, least=2)
    assert [len(taken) for taken in times.values()] == [rounds, rounds]


def test_ratios_are_taken_within_rounds():
    """A machine that gets slower and slower changes no ratio."""
    ours = [1.0, 2.0, 4.0, 8.0, 16.0]
    found = compare({OURS: ours, "b": [3 * t for t in ours]})
    assert found == {
        OURS: {"median_s": 4, "fastest_s": 1},
        "b": {"median_s": 12, "fastest_s": 3, "ratio": 3, "quartiles": [3, 3]},
    }


def test_the_ratio_is_the_median_of_ratios_and_not_the_ratio_of_medians():
    found = compare({OURS: [1, 2, 4], "b": [8, 2, 8]})["b"]  # ratios 8, 1, 2
    assert (found["ratio"], found["quartiles"]) == (2, [1.5, 5])
    assert (found["median_s"], found["fastest_s"]) == (8, 2)


def test_a_run_of_many_is_divided_but_its_ratio_stays():
    found = compare({OURS: [10, 10], "b": [20, 40]}, per=10)
    assert found[OURS]["median_s"] == 1
    assert (found["b"]["median_s"], found["b"]["ratio"]) == (3, 3)


def test_a_case_becomes_a_row():
    sides = {OURS: lambda: None, "b": lambda: None}
    row = measure(Case("nothing", sides, 0, timed=lambda run: 2.0, per=2, facts={"solver": "ddim"}))
    assert row["case"] == "nothing"
    assert row["solver"] == "ddim"
    assert row["rounds"] == 3
    assert row["sides"]["b"] == {"median_s": 1, "fastest_s": 1, "ratio": 1, "quartiles": [1, 1]}
    assert row["load_average_before"] >= 0
    json.dumps(row)


def test_the_processors_of_others(monkeypatch):
    """Ten seconds, in which two processors worked for 15 s, 4 of them for us."""
    times = iter([100.0, 110.0])
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(machine, "_busy", iter([50.0, 65.0]).__next__)
    monkeypatch.setattr(machine, "_own", iter([1.0, 5.0]).__next__)
    assert machine.Load().facts()["others_cpus"] == 1.1


def test_busy_counts_what_was_stolen_and_leaves_out_what_was_idle(monkeypatch):
    monkeypatch.setattr(machine, "_read", lambda path: "cpu  100 20 3 9999 8888 4 5 600 0 0\ncpu0 1 1 1\n")
    monkeypatch.setattr(machine.os, "sysconf", lambda name: 100)
    assert machine._busy() == pytest.approx(7.32)


def test_a_child_that_still_works_is_ours(monkeypatch):
    class Child:
        pid = 7

    stat = "7 (a) b) R " + " ".join(map(str, range(4, 40)))  # the state is field 3; utime and stime are 14 and 15
    monkeypatch.setattr(machine.multiprocessing, "active_children", lambda: [Child()])
    monkeypatch.setattr(machine, "_read", {"/proc/7/stat": stat}.__getitem__)
    monkeypatch.setattr(machine.os, "sysconf", lambda name: 100)
    monkeypatch.setattr(machine.os, "times", lambda: os.times_result((1.0, 2.0, 3.0, 4.0, 99.0)))
    assert machine._own() == pytest.approx(10 + 0.29)


@pytest.mark.parametrize("told", ["", "cpu 1 2\n"])
def test_where_the_system_does_not_tell_nothing_is_said(monkeypatch, told):
    monkeypatch.setattr(machine, "_read", lambda path: told)
    assert "others_cpus" not in machine.Load().facts()


def test_the_machine_is_json():
    facts = machine.facts()
    assert facts["torch"] == torch.__version__
    json.dumps(facts)


def test_difference_is_relative_to_the_largest_number():
    assert difference(torch.tensor([1.0, -3.0]), torch.tensor([1.0, -4.0])) == 0.25


def test_sides_that_differ_are_not_timed():
    sides = {OURS: lambda: torch.ones(2), "diffusers": lambda: torch.ones(2), "c": lambda: torch.full((2,), 1.0001)}
    with pytest.raises(AssertionError, match="do not compute the same"):
        check(sides)
    del sides["c"]
    assert check(sides) == {OURS: 0}


def test_both_sides_are_the_same_network():
    pytest.importorskip("diffusers", reason="pip install 'sfumato[test]'")
    for name in NETWORKS:
        both = sizes(name)
        assert both[OURS] == both["diffusers"]
    assert sizes("CIFAR-10")[OURS]["parameters"] == 35_746_307
    theirs = their_network("tiny")
    network, x, i = ours_of(theirs), torch.randn(2, 3, 8, 8), torch.tensor([0, 999])
    assert network.config == our_config("tiny")
    with torch.no_grad():
        assert difference(network(x, (i + 1) / 1000), theirs(x, i).sample) < 2e-5


def test_multiply_adds_of_the_tiny_network():
    """By hand: every convolution has channels in x channels out x 9 (or 1) a pixel; every linear layer in x out."""
    pytest.importorskip("diffusers", reason="pip install 'sfumato[test]'")

    def block(side, a, b):
        return side**2 * (9 * a * b + 9 * b * b + (a * b if a != b else 0)) + 128 * b

    linear = 32 * 128 + 128 * 128
    down = 64 * 9 * 3 * 32 + block(8, 32, 32) + 16 * 9 * 32 * 32 + block(4, 32, 64)
    attention = 4 * 16 * 64 * 64 + 2 * 16 * 16 * 64
    middle = 2 * block(4, 64, 64) + attention
    up = block(4, 128, 64) + block(4, 96, 64) + 64 * 9 * 64 * 64 + block(8, 96, 32) + block(8, 64, 32) + 64 * 9 * 32 * 3
    assert sizes("tiny")[OURS]["multiply_adds"] == linear + down + middle + up


# ---- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.234e-5, "12.3 µs"), (9.99e-4, "999 µs"), (0.0123, "12.3 ms"), (0.5, "500 ms"), (2, "2.00 s")],
)
def test_seconds_have_three_digits(value, text):
    assert report.seconds(value) == text


MACHINE = {"processor": "P (x)", "extensions": ["avx2"], "cpus": 2, "system": "S", "compiler": None, "torch": "2"}
SIZE = {"parameters": 2_500_000, "multiply_adds": 1_200_000_000}
RESULTS = {
    "forward": {
        "command": "python -m bench.speed forward",
        "date": "2026-01-02",
        "machine": MACHINE,
        "rows": [
            {
                "threads": 2,
                "case": "net, batch 1",
                "sides": {
                    OURS: {"median_s": 0.5, "fastest_s": 0.25},
                    "b": {"median_s": 1.5, "fastest_s": 1, "ratio": 3, "quartiles": [2.5, 3.25]},
                },
                "sizes": {OURS: SIZE, "b": SIZE},
                "differences": {OURS: 3e-6},
                "others_cpus": 0.12,
            }
        ],
    }
}


def test_a_table_of_times():
    shown = report.section("forward", RESULTS["forward"])
    assert "net: sfumato and b: 2.50 M parameters, 1.2 G multiply-adds a picture." in shown
    assert "| net, batch 1 | 2 | sfumato | 500 ms | 250 ms |  | 3e-06 | 0.1 |" in shown
    assert "|  |  | b | 1.50 s | 1.00 s | 3.00 (2.50 … 3.25) |  |  |" in shown


def test_a_table_of_overhead():
    side = {"median_s": 1.25e-5}
    sides = {OURS: side, "arithmetic": {**side, "ratio": 0.5}, "diffusers": {**side, "ratio": 12}}
    rows = [
        {"solver": "ddim", "shape": "1x3", "sides": sides, "others_cpus": 0.5},
        {"solver": "edm", "shape": "1x3", "sides": {OURS: side, "arithmetic": {**side, "ratio": 0.25}}},
    ]
    shown = report.overhead(rows)
    assert "| ddim | 12.5 | 0.50 | 12.00 |" in shown
    assert "| edm | 12.5 | 0.25 |  |" in shown
    assert "up to 0.5" in shown


def test_a_table_of_peaks():
    other = {"peak_mib": 150, "whole_mib": 420, "ratio": 1.5, "whole_ratio": 1.4}
    shown = report.peaks([{"case": "step", "sides": {OURS: {"peak_mib": 100, "whole_mib": 300}, "b": other}}])
    assert "| step | sfumato | 100 |  | 300 |  |" in shown
    assert "|  | b | 150 | 1.50 | 420 | 1.40 |" in shown


def test_the_page_keeps_everything_outside_of_its_marks():
    page = "# T\n<!-- speed: forward -->\nold\n<!-- end -->\nmiddle\n<!-- speed: peaks -->\nkept\n<!-- end -->\nend\n"
    made = report.filled(page, RESULTS)
    assert "old" not in made
    assert "500 ms" in made
    assert made.endswith("<!-- end -->\nmiddle\n<!-- speed: peaks -->\nkept\n<!-- end -->\nend\n")
    assert report.filled(made, RESULTS) == made


def test_conditions_are_said_once_where_they_are_the_same():
    one = report.conditions({"a": RESULTS["forward"], "b": RESULTS["forward"]})
    assert one == "2026-01-02: P (x), 2 CPUs with avx2; S; torch 2; no kernels: there is no compiler for them."
    other = {**RESULTS["forward"], "machine": {**MACHINE, "cpus": 4}}
    assert report.conditions({"a": RESULTS["forward"], "b": other}).startswith("- a: 2026-01-02: P (x), 2 CPUs")


def test_the_docs_hold_what_the_results_say():
    """docs/performance.md is what the committed results make of it."""
    root = Path(__file__).parents[2]
    page = (root / "docs" / "performance.md").read_text("utf-8")
    results = root / "bench" / "results" / "speed.json"
    if results.exists():
        assert report.filled(page, json.loads(results.read_text())) == page


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("sfumato_convolve", "3x3 convolutions, our kernels"),
        ("sfumato_weight_gradient", "their weights' gradients, our kernel"),
        ("aten::mkldnn_convolution", "other convolutions, torch's"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::addmm", "products of matrices"),
        ("aten::_fused_adamw_", "optimiser, clipping, average"),
        ("aten::cat", "sums, joins, copies"),
        ("aten::empty", profiles.REST),
    ],
)
def test_every_operation_is_of_one_kind(operation, kind):
    assert profiles.kind_of(operation) == kind


def test_the_work_of_a_kernel_is_that_of_its_tiles():
    """32x32 pixels are 64 tiles of 4x4, 36 products each; directly 9 a pixel. 5x5 are 4 such tiles, or 9 of 2x2."""
    tensors, work = (None,) * 5, profiles.work_of
    assert work("sfumato_convolve", (*tensors, 2, 32, 32, 8, 16, 4, 1)) == (2 * 64 * 36 * 128, 2 * 1024 * 9 * 128)
    assert work("sfumato_convolve", (*tensors, 1, 5, 5, 8, 8, 2, 1)) == (9 * 16 * 64, 25 * 9 * 64)
    assert work("sfumato_convolve_once", (*tensors, 1, 5, 5, 8, 16, 1, 72, 24, 8, 0, 1)) == (4 * 36 * 128, 25 * 9 * 128)
    assert work("sfumato_weight_gradient", (*tensors[2:], 1, 5, 5, 8, 8, 1)) == (4 * 36 * 64, 25 * 9 * 64)
    assert work("sfumato_normalise", (*tensors, 1, 5, 5, 8)) == (0, 0)


@pytest.mark.skipif(not available(), reason="needs a C++ compiler")
def test_kernels_are_counted_and_what_they_replace_is_part_of_the_whole():
    network, x = UNet(our_config("tiny")).eval(), torch.zeros(1, 3, 8, 8)
    with torch.no_grad():
        done, replaced = profiles.counted(lambda: network(x, 0.5))
    whole = profiles.direct("tiny", 1, learns=False)
    assert whole == sizes("tiny")["sfumato"]["multiply_adds"]
    assert 0.5 * whole < replaced < whole
    assert replaced / 4 <= done < replaced
    assert 2 < profiles.direct("tiny", 3, learns=True) / (3 * whole) < 3


def test_a_profile_names_all_its_time():
    found = profiles.spent(lambda: torch.ones(300, 300) @ torch.ones(300, 300), 3)
    assert set(found) == set(profiles.KINDS)
    assert found["products of matrices"] > 0
    assert found["attention"] == 0


def test_a_table_of_a_profile():
    row = {
        "case": "a call",
        "kinds": {"convolutions": 3.0, "norms": 1.0},
        "multiply_adds": {"direct": 40e9, "ours": 10e9},
        "product_speed": 50e9,
        "seconds": {OURS: 0.4, "diffusers": 1.0},
    }
    shown = report.profile([row])
    for line in ("| convolutions | 75% |", "| bound | 200 ms |", "times ours | 2.50 |", "times the bound | 5.00 |"):
        assert line in shown
