"""The result as text: tables and numbers for EVALUATION.md.j2, which holds the words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import jinja2
import polars as pl

from evaluation import relapse, selection
from evaluation.alternatives import ETHER_SINCE, alternatives, flushes
from evaluation.baselines import first_liquidation
from evaluation.history import day, text
from evaluation.placebos import CALM, FAULTS, PURGES, contradicting
from evaluation.result import AVERAGES, SENSITIVITY, Result
from evaluation.scoring import EVENTS, NEAR, SINCE, Entry, Score, last_friday, score
from monitor.commands.backtest import cells

CONTROLS = (
    ("2019-10-25", "price rises, coins fall"), ("2019-10-26", "the day after"),
    ("2021-01-11", "price falls, no purge"), ("2021-06-25", "quarterly expiry"),
    ("2022-01-21", "price falls, no purge"), ("2022-05-11", "price falls, no purge"),
    ("2023-06-30", "quarterly expiry"),
)  # fmt: skip
FALLS = tuple(day(date) for date, what in CONTROLS if what == "price falls, no purge")
SQUEEZES = (day("2021-07-26"), day("2023-01-14"))
STAYS = {
    "purge": ("3", "5.5 %"), "stabilising": ("4", "10 %"), "reset": ("25", "37 %"), "build_up": ("8", "20 %"),
    "stretched": ("18", "19 %"), "undetermined": ("", "9 %"),
}  # fmt: skip
"""Methodology 7.3: median stay in days, share of time."""
RELAPSES = {
    "stabilising": (16, 25, 38), "reset": (5, 16, 32), "stretched": (None, 33, 59), "": (11, 21, 42),
}  # fmt: skip
"""Methodology 7.5: per cent within 7, 14, 30 days."""

Values = dict[str, object]


def page(of: Result) -> str:
    """The whole document."""
    words = (Path(__file__).parent / "EVALUATION.md.j2").read_text()
    markdown = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # noqa: S701
    template = markdown.from_string(words)
    parts = (reference, chosen, relapsed, controls, spoilt, compared, ether, tried, alerted)
    return template.render({name: value for part in parts for name, value in part(of).items()})


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(value: float | None, digits: int = 1) -> str:
    """A number without negative zero; nothing where there is none."""
    return "" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def per_cent(value: float | None, digits: int = 0) -> str:
    """A share in per cent; nothing where there is none."""
    return "" if value is None else f"{number(100 * value, digits)} %"


def side(entry: Entry) -> str:
    return (entry.state.side or "").replace("_", " ")


def reference(of: Result) -> Values:
    """Section 1."""
    one, wrong = of.score, set(of.score.unmatched)

    def split(name: str, entries: Sequence[Entry]) -> Sequence[object]:
        unmatched = sum(entry.day in wrong for entry in entries)
        return name, len(entries), len(entries) - unmatched, unmatched, number(unmatched / one.years, 2)

    at = {entry.day: entry for entry in of.entries}
    rows: list[Sequence[object]] = []
    for event in EVENTS:
        if entry := at.get(one.found.get(event, -1)):
            rows.append((
                text(event), text(entry.day), f"{entry.day - event:+d}", per_cent(entry.row["growth"], 1),
                number(entry.row["z_growth"]), "1 d" if entry.one_day else "3 d", side(entry), entry.before,
            ))  # fmt: skip
        else:
            row = of.row(event)
            growth, z = per_cent(row["growth"], 1), number(row["z_growth"])
            rows.append((text(event), "missed", "", growth, z, "", "", of.phase_of[event - 1]))
    unmatched = [
        (text(e.day), per_cent(e.row["growth"], 1), number(e.row["z_growth"]),
         per_cent(e.row["return_3d"], 1), side(e), e.before, "yes" if last_friday(e.day) else "")
        for e in of.entries if e.day in wrong
    ]  # fmt: skip
    spans = of.to_reset
    return {
        "found": len(one.found), "events": one.events, "near": NEAR, "a_year": number(one.a_year),
        "since": text(SINCE), "until": text(of.until), "years": number(one.years),
        "recall": per_cent(one.recall), "precision": per_cent(one.precision), "delay": number(one.delay, 2),
        "split": table(
            ("", "purges", "at an event", "unmatched", "unmatched a year"),
            (
                split("all", of.entries),
                split("long flush", [e for e in of.entries if e.state.side == "long_flush"]),
                split("short squeeze", [e for e in of.entries if e.state.side == "short_squeeze"]),
                split("of all, on a month's last Friday", [e for e in of.entries if last_friday(e.day)]),
            ),
        ),
        "found_table": table(
            ("event", "found", "delay, d", "g that day", "z of g", "rule", "side", "phase before"), rows
        ),
        "unmatched_table": table(
            ("date", "g", "z of g", "price 3 d", "side", "phase before", "last Friday"), unmatched
        ),
        "dwell": table(
            ("phase", "median stay, d", "in 7.3", "share of days", "in 7.3"),
            ((phase, number(of.dwell[phase], 0) if stay else "", stay, per_cent(of.shares[phase], 1), share)
             for phase, (stay, share) in STAYS.items()),
        ),
        "to_reset": spans[len(spans) // 2], "to_reset_cases": len(spans),
        "to_reset_least": spans[0], "to_reset_most": spans[-1],
        "sensitivity": table(
            ("z₁, g₁", "found of 20", "in 7.3", "unmatched a year", "in 7.3"),
            ((pair_text(pair), len(s.found), told[0], number(s.a_year, 2), told[1])
             for (pair, s), (_, told) in zip(of.sensitivity, SENSITIVITY, strict=True)),
        ),
        "averages": table(
            ("long-term average, d", "found of 20", "unmatched a year", "share of reset", "in 7.3"),
            ((days, len(s.found), number(s.a_year, 2), per_cent(share), f"{told} %")
             for (days, s, share), (_, told) in zip(of.averages, AVERAGES, strict=True)),
        ),
    }  # fmt: skip


def pair_text(pair: selection.Pair) -> str:
    return f"{pair[0]:.0f}, {per_cent(pair[1])}"


def chosen(of: Result) -> Values:
    """Section 2."""
    recall, rate = selection.bootstrap(of.score, of.until)
    values: Values = {
        "block": selection.BLOCK, "draws": selection.DRAWS,
        "recall_low": per_cent(recall[0]), "recall_high": per_cent(recall[1]),
        "rate_low": number(rate[0]), "rate_high": number(rate[1]),
        "grid": table(
            ("g₁", *(f"z₁ = {z:.0f}" for z in selection.GRID_Z)),
            ((per_cent(g), *(_cell(score(of.grid[z, g], SINCE, of.until)) for z in selection.GRID_Z))
             for g in selection.GRID_GROWTH),
        ),
    }  # fmt: skip
    for way in selection.WAYS:
        folds = selection.without_a_year(of.grid, of.until, way)
        rows: list[Sequence[object]] = [
            (year, pair_text(pair), f"{len(s.found)} of {s.events}", len(s.unmatched))
            for year, pair, s in folds
        ]
        found, unmatched = sum(len(s.found) for *_, s in folds), sum(len(s.unmatched) for *_, s in folds)
        a_year = number(unmatched / of.score.years, 2)
        rows.append(("all", "", f"**{found} of 20**", f"{unmatched}: **{a_year} a year**"))
        name = way.lower()
        values[f"years_{name}"] = table(("year left out", f"chosen by *{way}*", "found", "unmatched"), rows)
        events = selection.without_an_event(of.grid, of.until, way)
        values[f"event_{name}"] = sum(hit for *_, hit in events)
        pairs = sorted({pair for _, pair, _ in events}, reverse=True)
        values[f"pairs_{name}"] = "; ".join(pair_text(pair) for pair in pairs)
    return values


def _cell(one: Score) -> str:
    return f"{len(one.found)}, {number(one.a_year, 2)}"


def relapsed(of: Result) -> Values:
    """Section 3."""

    def cell(count: tuple[int, int], told: int | None) -> str:
        published = "" if told is None else f" ({told} %)"
        return f"{count[0]} of {count[1]}: {per_cent(relapse.smoothed(count))}{published}"

    values: Values = {
        "reset_30": per_cent(relapse.smoothed(of.relapses["reset"][30])),
        "any_30": per_cent(relapse.smoothed(of.relapses[""][30])),
        "relapse": table(
            ("", *(f"{days} d" for days in relapse.HORIZONS)),
            ((phase or "any day outside a purge", *map(cell, counts.values(), RELAPSES[phase]))
             for phase, counts in of.relapses.items()),
        ),
    }  # fmt: skip
    for days in relapse.HORIZONS[1:]:
        told = of.forecasts(days)
        shown, base = relapse.brier(told)
        values |= {f"brier_{days}": number(shown, 3), f"base_{days}": number(base, 3)}
        rows = []
        for phase in (*relapse.PHASES[:2], "build_up", *relapse.PHASES[2:]):
            some = [one for one in told if one.phase == phase]
            mean, came = (sum(of) / len(some) for of in ([f.shown for f in some], [f.came for f in some]))
            rows.append((phase, len(some), per_cent(mean), per_cent(came)))
        values[f"reliability_{days}"] = table((f"{days} days", "days in it", "mean shown", "came true"), rows)
    return values


def controls(of: Result) -> Values:
    """Section 4."""
    frame = of.frame.with_columns(
        (pl.col(name) / pl.col(name).shift(1)).log().alias(f"d_{name}") for name in ("coins", "usd")
    )
    may = frame.filter(
        pl.col("day").is_between(day("2019-05-01"), day("2019-05-31")), pl.col("return_1d") > 0
    )
    worst = may.sort("d_coins")["day"][0]
    rows = []
    for date, what in ((text(worst), "the rise of May 2019 with most coins lost"), *CONTROLS):
        row = frame.row(by_predicate=pl.col("day") == day(date), named=True)
        near = [entry.day for entry in of.entries if abs(entry.day - day(date)) <= NEAR]
        result = f"**purge on {text(near[0])}**" if near else "no purge"
        rows.append((
            date, what, *(per_cent(row[name], 1) for name in ("return_1d", "d_coins", "d_usd", "growth")),
            number(row["z_growth"]), "undetermined" if of.phase_of[day(date)] == "undetermined" else result,
        ))  # fmt: skip
    head = ("date", "what", "price", "coins", "dollars", "g", "z of g", f"within ±{NEAR} d")
    return {"controls": table(head, rows)}


def spoilt(of: Result) -> Values:
    """Section 5."""
    values: Values = {"groups": len({(one.asset, one.venues) for one in of.outcomes})}
    for name, dates in (("calm", CALM), ("purge", PURGES)):
        some = [one for one in of.outcomes if one.date in dates]
        rows = []
        for count, fault in product((3, 2, 1), FAULTS):
            mine = [one for one in some if (len(one.venues), one.fault) == (count, fault)]
            counted = (
                [bool(getattr(one, what)) for one in mine] for what in ("new", "gone", "moved", "blind")
            )
            rows.append((count, fault, len(mine), *map(sum, counted)))
        values |= {
            name: table(("venues", "fault", "cases", "new", "gone", "moved", "blind"), rows),
            f"{name}_dates": ", ".join(dates), f"{name}_cases": len(some),
            f"{name}_new": sum(bool(one.new) for one in some),
            f"{name}_gone": sum(bool(one.gone) for one in some),
        }  # fmt: skip
    values["flips"] = table(
        ("asset", "venues", "spoilt", "fault", "date", "new", "gone"),
        (
            (one.asset, " + ".join(one.venues), one.venue or "all", one.fault, one.date,
             " ".join(map(text, one.new)), " ".join(map(text, one.gone)))
            for one in of.outcomes if one.new or (one.gone and len(one.venues) == 3 and not one.blind)
        ),
    )  # fmt: skip
    told = contradicting().filter(pl.col("day").is_between(day("2021-05-18"), day("2021-05-25")))
    values["contradicting"] = table(
        ("date", "g Bybit", "g vendor", "set aside", "g", "phase", "g, no rule", "phase", "equal", "phase"),
        (
            (text(row["day"]), per_cent(row["bybit"], 1), per_cent(row["vendor"], 1), "; ".join(row["aside"]),
             *(value for name in ("rule", "dollars", "alike")
               for value in (per_cent(row[f"g_{name}"], 1), row[f"phase_{name}"])))
            for row in told.iter_rows(named=True)
        ),
    )  # fmt: skip
    return values


def compared(of: Result) -> Values:
    """Section 6."""

    def line(name: str, one: Score) -> Sequence[object]:
        wrong = sum(event in FALLS for event in one.found)
        squeezes = sum(any(abs(d - alarm) <= NEAR for alarm in one.unmatched) for d in SQUEEZES)
        found = f"{len(one.found)} of {one.events}"
        purges = len(one.found) - wrong
        return name, found, purges, wrong, squeezes, number(one.a_year, 2), number(one.delay, 2)

    head = ("rule", "events", "purges", "controls", "squeezes", "unmatched a year", "mean delay, d")
    return {
        "liquidations_since": text(first_liquidation(of.frame)),
        "baselines": table(head, (line(n, whole) for n, whole, _ in of.detectors if "liquidations" not in n)),
        "baselines_short": table(head, (line(name, short) for name, _, short in of.detectors)),
    }


def ether(of: Result) -> Values:
    """Section 7."""
    phases, entries, frame = of.ether
    rows = []
    for event in EVENTS:
        if event >= day("2021-01-01"):
            row = frame.row(by_predicate=pl.col("day") == event, named=True)
            near = [text(entry.day) for entry in entries if abs(entry.day - event) <= NEAR]
            growth, z = per_cent(row["growth"], 1), number(row["z_growth"])
            rows.append((text(event), growth, z, phases[event - 1], phases[event], *(near or [""])[:1]))
    return {
        "ether_since": text(min(phases)), "ether_until": text(max(phases)),
        "ether": table(("date", "g", "z of g", "phase before", "phase", f"purge within ±{NEAR} d"), rows),
        "ether_purges": ", ".join(f"{text(entry.day)} ({side(entry)})" for entry in entries),
    }  # fmt: skip


def tried(of: Result) -> Values:
    """Section 8."""
    found = set(of.score.found.values())
    at_events = [entry for entry in of.entries if entry.day in found]
    sides = flushes(at_events)
    return {
        "ether_scored": text(ETHER_SINCE),
        "alternatives": table(
            ("", "of 20", "before 2022", "from 2022", "ether"),
            ((one.name, *(f"{len(s.found)} of {s.events}, {number(s.a_year, 2)}" for s in one[1:]))
             for one in alternatives(of.frame, of.ether[2])),
        ),
        "side_cases": len(at_events), **{f"side_{name}": count for name, count in sides.items()},
    }  # fmt: skip


def alerted(of: Result) -> Values:
    """Section 9."""
    tested = of.backtested
    head = ("alert", "severity", "firings", "share of time", "events found", "median delay",
            "false alarms a month", "blind")  # fmt: skip
    purges = next(one for one in tested.judged if one.alert == "PurgeStarted")
    lacking = [(f"`{name.split()[0]}`", why) for name, why in tested.not_judged.items() if "_" in why]
    return {
        "alerts": table(
            head,
            ((f"`{one.alert}`", one.severity, *(cell.replace("%", " %") for cell in cells(one)))
             for one in tested.judged),
        ),
        "alerts_missed": ", ".join(event.label for event in purges.missed),
        "alerts_since": text(tested.start / 86_400), "alerts_until": text(tested.end / 86_400 - 1),
        "alerts_lacking": table(("alert", "what it lacks"), ((a, f"`{why}`") for a, why in lacking)),
        "alerts_early": sum(delay < 86_400 for delay in purges.delays_s),
        "alerts_late": sum(delay > 2 * 86_400 for delay in purges.delays_s),
    }  # fmt: skip
