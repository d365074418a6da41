"""The Prometheus text of the samples, written straight from the tick's columns.

Prefixes (name, escaped labels) are made once for each set of instruments; a scrape joins them to the
numbers. At 10,000 series that is 20 to 40 times cheaper than the client library's own writer, which
still writes the monitor's own metrics and whose parser checks this text in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from monitor.tick.compute import Family, Samples

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def escape(value: str) -> str:
    r"""A label's value for the text format: `\`, `"` and line ends are escaped."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Writer:
    """Writes samples as text; keeps the prefixes of the families it wrote last."""

    def __init__(self) -> None:
        self._prefixes: dict[str, tuple[tuple[object, ...], list[bytes]]] = {}

    def text(self, samples: Samples) -> bytes:
        """The whole text of the market's metrics, families in their declared order."""
        return b"".join(part for family in samples.families for part in self._family(family))

    def _family(self, family: Family) -> Sequence[bytes]:
        metric = family.metric
        prefixes = self._of(family)
        # orjson writes every finite float at its shortest and everything else as null: no sample.
        numbers = orjson.dumps(family.values.to_list())[1:-1].split(b",")
        lines = [
            prefix + number
            for prefix, number in zip(prefixes, numbers, strict=bool(prefixes))
            if number != b"null"
        ]
        if not lines:
            return ()
        name = metric.name
        head = f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}"
        return (head.encode(), *lines, b"\n")

    def _of(self, family: Family) -> list[bytes]:
        kept = self._prefixes.get(family.metric.name)
        if kept is None or kept[0] != family.key:
            kept = family.key, _prefixes(family)
            self._prefixes[family.metric.name] = kept
        return kept[1]


def _prefixes(family: Family) -> list[bytes]:
    metric, labels = family.metric, family.labels
    fixed = [f'{name}="{escape(value)}"' for name, value in metric.fixed]
    names = labels.columns
    # A frame without columns has no rows, whatever it was made of: the market's one row has no label.
    rows = labels.rows() if names else [()] * len(family.values)
    return [f"\n{metric.name}{{{','.join([*_pairs(names, row), *fixed])}}} ".encode() for row in rows]


def _pairs(names: Sequence[str], row: Sequence[str]) -> Iterator[str]:
    return (f'{name}="{escape(value)}"' for name, value in zip(names, row, strict=True))
