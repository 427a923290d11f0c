"""Make every fault and count what came of it: `python -m tests.faults [--only kills,data] [--share 0.1]`.

Twenty minutes on 2 cores. Where it is root and there is mount, small disks are made too.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults import (
    Case,
    checkpoints,
    configs,
    disks,
    keras_files,
    pictures,
    power,
    runs,
    saving,
    sources,
    stock,
    sweeps,
)

SIZES = (4, 12, 16, 20, 24, 64, 400, 800, 1300, 1600, 2000, 2600, 2800, 3200, 3600)  # KiB, of small disks
COUNTS = {
    "kills": 50,
    "signals": 25,
    "permissions": 6,
    "stock": 30,
    "checkpoints": 1000,
    "pictures": 10_000,
    "sweep_kills": 100,
    "sweep_drivers": 20,
}


def suites(work: Path, share: float) -> dict[str, Callable[[], Iterable[Case]]]:
    """Name what there is to be made, each with that share of its cases."""
    count = {name: max(2, round(share * number)) for name, number in COUNTS.items()}
    mounts = os.name == "posix" and os.getuid() == 0 and shutil.which("mount") is not None
    return {
        "kills": lambda: runs.kills(work / "kills", count["kills"]),
        "signals": lambda: runs.signals(work / "signals", count["signals"]),
        "disks": lambda: disks.full_disks(work / "disks", every=round(1 / share)),
        "small_disks": lambda: disks.small_disks(work / "small", SIZES[:: round(1 / share)]) if mounts else [],
        "power": lambda: power.cases(work / "power", every=round(1 / share)),
        "permissions": lambda: disks.permissions(work / "permissions", count["permissions"]),
        "checkpoints": lambda: checkpoints.cases(work / "checkpoints", count["checkpoints"]),
        "data": lambda: sources.cases(work / "data"),
        "pictures": lambda: pictures.cases(work / "pictures", count["pictures"]),
        "keras_files": lambda: keras_files.cases(work / "keras_files"),
        "configs": lambda: configs.cases(work / "configs"),
        "sweep_kills": lambda: sweeps.kills(work / "sweep_kills", count["sweep_kills"]),
        "sweep_drivers": lambda: sweeps.drivers(work / "sweep_drivers", count["sweep_drivers"]),
        "stock": lambda: stock.cases(work / "stock", count["stock"]),
    }


def table(cases: Iterable[Case]) -> Iterator[str]:
    """Write a line for each kind of fault: how many there were, how many went as they must, and the slowest."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.kind, case.fault), []).append(case)
    for (kind, fault), group in sorted(groups.items()):
        wrong = [case.failure for case in group if case.failure]
        slowest = max(case.seconds for case in group)
        yield (
            f"{kind:24} {fault:48} {len(group) - len(wrong):6,} of {len(group):6,}"
            + (f"  {slowest:6.2f} s" if slowest else " " * 10)
            + (f"  {'; '.join(sorted(set(wrong)))[:200]}" if wrong else "")
        )


def main() -> int:
    """Make the faults, print the table, and end with 1 if anything of ours went otherwise than it must."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="names from: " + ", ".join([*suites(Path(), 1), "saving"]))
    parser.add_argument("--share", type=float, default=1.0, help="make a part of the cases alone")
    options = parser.parse_args()
    ours: list[Case] = []
    with TemporaryDirectory() as folder:
        work = Path(folder)
        work.chmod(0o755)
        for name, make in suites(work, options.share).items():
            if options.only is None or name in options.only.split(","):
                (work / name).mkdir(exist_ok=True)
                begin = time.monotonic()
                cases = list(make())
                print(f"== {name}: {len(cases):,} cases in {time.monotonic() - begin:.0f} s")
                print("\n".join(table(cases)), flush=True)
                ours += cases if name != "stock" else []
        if options.only is None or "saving" in options.only:
            print(f"== saving: {saving.cost(work / 'saving')}")
    wrong = [case for case in ours if case.failure]
    print(f"{len(ours) - len(wrong):,} of {len(ours):,} as they must be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
