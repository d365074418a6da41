"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
from collections.abc import Callable

from measure import Row, console

SECTIONS = ("decode", "tick", "scrape", "stream", "history", "phases", "past", "memory")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Speed, as ratios measured side by side, and CPU time of the process under test.",
        epilog="Exit status: 0 done, 1 a target was missed and --strict was given, 2 wrong usage.",
    )
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections: %(default)s")
    parser.add_argument("--long", action="store_true", help="memory over ten minutes instead of one")
    parser.add_argument("--strict", action="store_true", help="fail where a target is missed")
    parser.add_argument(
        "--cryptofeed", action=argparse.BooleanOptionalAction, default=True,
        help="decode: measure cryptofeed too, in an environment of its own in .tools",
    )  # fmt: skip
    given = parser.parse_args()
    wanted = given.only.split(",")
    if unknown := sorted(set(wanted) - set(SECTIONS)):
        parser.error(f"unknown section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that children are ended
    began = time.monotonic()
    rows: list[Row] = []
    for name in SECTIONS:
        if name in wanted:
            section: Callable[..., list[Row]] = importlib.import_module(name).section
            match name:
                case "decode":
                    rows += section(with_cryptofeed=given.cryptofeed)
                case "memory":
                    rows += section(seconds=600 if given.long else 60)
                case _:
                    rows += section()
    missed = [row for row in rows if row.met is False]
    console.print(
        f"{sum(row.met is True for row in rows)} targets met, {len(missed)} missed, "
        f"{time.monotonic() - began:.0f} s."
    )
    return 1 if missed and given.strict else 0


if __name__ == "__main__":
    sys.exit(main())
