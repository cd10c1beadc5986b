"""Measure speed and memory beside other libraries.

    python -m bench.speed [WORKLOAD …] [--quick] [--threads N …] [--isa avx2]

Each workload runs in a process of its own for each number of threads. Results go to bench/results/speed.json, where
those of other workloads stay, and into the tables of docs/performance.md. With --quick there are fewer cases and
rounds; results go to build/speed-quick.json, and the docs stay as they are. With --isa, all sides do with less than
the processor has, as they would on one that has no more; results go by names of their own, such as
forward_avx2. Engines that cannot be told so are left out.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from bench.memory import alone
from bench.speed import machine, report
from bench.speed.workload import measured

from sfumato.files import write_text

ROOT = Path(__file__).parent.parent.parent
RESULTS, QUICK_RESULTS = ROOT / "bench" / "results" / "speed.json", ROOT / "build" / "speed-quick.json"
PAGE = ROOT / "docs" / "performance.md"

MOST = min(2, os.cpu_count() or 1)
EACH = tuple(range(1, MOST + 1))
WORKLOADS = {  # -> numbers of threads
    "forward": EACH,
    "training": EACH,
    "sampling": EACH,
    "ancestral": EACH,
    "profile": (1,),
    "overhead": (1,),
    "startup": (MOST,),
    "peaks": (MOST,),
}
LIMITS = {  # what the environment says to our kernels, and to torch's: oneDNN, MKL and its own
    "avx2": {
        "CXXFLAGS": "-mno-avx512f",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
    }
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.speed", description="Measure speed and memory beside other libraries."
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS))
    parser.add_argument("--threads", nargs="+", type=int, metavar="N", help="default: 1 and 2 where it matters")
    parser.add_argument("--isa", choices=LIMITS, help="no more than these instructions of the processor")
    parser.add_argument("--quick", action="store_true", help="fewer cases and rounds, under three minutes")
    asked = parser.parse_args()
    if unknown := set(asked.workloads) - WORKLOADS.keys():
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    path = QUICK_RESULTS if asked.quick else RESULTS
    results = json.loads(path.read_text()) if path.exists() else {}
    os.environ.update(LIMITS.get(asked.isa, {}))
    for name in asked.workloads or WORKLOADS:
        rows = []
        for threads in asked.threads or (WORKLOADS[name][-1:] if asked.quick else WORKLOADS[name]):
            os.environ["OMP_NUM_THREADS"] = str(threads)
            rows += alone(measured, name, threads, asked.quick)
        limit = f" --isa {asked.isa}" if asked.isa else ""
        limit += f" --threads {' '.join(map(str, asked.threads))}" if asked.threads else ""
        command = f"python -m bench.speed {name}{' --quick' * asked.quick}{limit}"
        when = datetime.now(UTC).date().isoformat()
        results[f"{name}_{asked.isa}" if asked.isa else name] = {
            "command": command,
            "date": when,
            "machine": alone(machine.facts),
            "rows": rows,
        }
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps(results, indent=1) + "\n")
    print(report.text(results))
    if not asked.quick:
        write_text(PAGE, report.filled(PAGE.read_text("utf-8"), results))


if __name__ == "__main__":
    main()
