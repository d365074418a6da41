"""Prints `docs/REPLICATION.md`: what the bank published, and what this program makes of public prices.

`python -m monitor.commands.replication --history DIR`, with the tables that `make replication` names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import polars as pl
import typer
from jinja2 import Environment, StrictUndefined

from monitor.app import gold_table
from monitor.commands.valuation import GOLD, Problem, read_prices
from monitor.macro.valuation import (
    GoldTable,
    bitcoin_supply,
    fair_value,
    gold_investment,
    gold_tonnes,
    rounding_interval,
)
from monitor.volatility.ratio import (
    BITCOIN_DAYS,
    GOLD_DAYS,
    WINDOW,
    Clock,
    NotCovered,
    Ratio,
    pairs,
    ratio_of,
    volatility_ratio,
)

BITCOIN = "ohlcv_binance_spot_daily.parquet"
SPOT = "XAUUSD"
SERIES = {
    SPOT: "gold_xauusd_daily.parquet",
    "GLD": "gold_gld_daily.parquet",
    "GC=F": "gold_gcf_daily.parquet",
}


class Call(msgspec.Struct, frozen=True):
    """What the bank said on a day: its ratio (implied by its price where it printed none), and its price."""

    day: date
    ratio: float
    printed: bool
    price: float


CALLS = (
    Call(date(2024, 3, 14), 3.7, True, 45_000),
    Call(date(2024, 7, 18), 3.57, False, 53_000),
    Call(date(2024, 12, 31), 3.61, False, 57_429),
    Call(date(2025, 4, 3), 3.456, False, 71_000),
    Call(date(2025, 8, 27), 2.05, True, 126_000),
    Call(date(2025, 10, 1), 1.85, True, 165_000),
    Call(date(2025, 11, 4), 1.82, True, 170_000),
    Call(date(2026, 2, 4), 1.5, True, 266_000),
)
"""Methodology §1.2 (prices) and §1.7 (ratios)."""
LAST = CALLS[-1].day
"""Its prices are not in the history."""

LENGTHS: Mapping[str, timedelta | int] = {
    **{f"{days} d": timedelta(days=days) for days in (60, 90, 120)},
    f"{WINDOW} td": WINDOW,
    "180 d": timedelta(days=180),
}
"""Returns that end in the last days of the calendar, or so many returns."""
STUDY: Mapping[tuple[Clock, str, str], tuple[float, float]] = {
    ("aligned", "60 d", "XAUUSD"): (1.008, 0.277), ("aligned", "60 d", "GLD"): (1.026, 0.269),
    ("aligned", "60 d", "GC=F"): (0.991, 0.251), ("aligned", "90 d", "XAUUSD"): (1.291, 0.200),
    ("aligned", "90 d", "GLD"): (1.288, 0.190), ("aligned", "90 d", "GC=F"): (1.239, 0.159),
    ("aligned", "120 d", "XAUUSD"): (1.305, 0.148), ("aligned", "120 d", "GLD"): (1.275, 0.147),
    ("aligned", "120 d", "GC=F"): (1.245, 0.146), ("aligned", "126 td", "XAUUSD"): (1.473, 0.027),
    ("aligned", "126 td", "GLD"): (1.439, 0.043), ("aligned", "126 td", "GC=F"): (1.396, 0.071),
    ("aligned", "180 d", "XAUUSD"): (1.473, 0.032), ("aligned", "180 d", "GLD"): (1.434, 0.047),
    ("aligned", "180 d", "GC=F"): (1.392, 0.070),
    ("own", "60 d", "XAUUSD"): (0.998, 0.290), ("own", "60 d", "GLD"): (0.945, 0.293),
    ("own", "60 d", "GC=F"): (0.913, 0.280), ("own", "90 d", "XAUUSD"): (1.278, 0.218),
    ("own", "90 d", "GLD"): (1.215, 0.207), ("own", "90 d", "GC=F"): (1.169, 0.195),
    ("own", "120 d", "XAUUSD"): (1.321, 0.161), ("own", "120 d", "GLD"): (1.245, 0.160),
    ("own", "120 d", "GC=F"): (1.216, 0.164), ("own", "126 td", "XAUUSD"): (1.457, 0.038),
    ("own", "126 td", "GLD"): (1.385, 0.060), ("own", "126 td", "GC=F"): (1.343, 0.080),
    ("own", "180 d", "XAUUSD"): (1.457, 0.054), ("own", "180 d", "GLD"): (1.375, 0.068),
    ("own", "180 d", "GC=F"): (1.334, 0.083),
}  # fmt: skip
"""Printed in §1.9: the ratio of 2026-02-04, and the RMS of the logarithmic errors."""


class History(msgspec.Struct, frozen=True):
    """Closes by day."""

    bitcoin: pl.DataFrame
    gold: Mapping[str, pl.DataFrame]

    def close(self, prices: pl.DataFrame, day: date) -> float:
        """Price of a day."""
        return float(prices.filter(pl.col("date") == day)["close"].item())


def read(folder: Path) -> History:
    """The tables of the folder.

    Raises:
        Problem: one of them is missing or wrong.
    """
    gold = {name: read_prices(folder / file, GOLD) for name, file in SERIES.items()}
    return History(read_prices(folder / BITCOIN, ("BTC",)), gold)


# The ratio.


def ratio_at(history: History, call: Call, clock: Clock = "aligned") -> Ratio | None:
    """The ratio with spot gold and its interval; None where the history does not reach."""
    try:
        return volatility_ratio(history.bitcoin, history.gold[SPOT], WINDOW, call.day, clock)
    except NotCovered:
        return None


def naive(history: History, call: Call) -> float | None:
    """The rejected ratio of raw daily deviations: calendar days of bitcoin against trading days of gold."""
    own = ratio_at(history, call, "own")
    return None if own is None else own.ratio * math.sqrt(GOLD_DAYS / BITCOIN_DAYS)


def ratio_on(
    history: History, of: pl.DataFrame, length: timedelta | int, day: date, clock: Clock
) -> float | None:
    """The ratio of a window that ends on a day, from all pairs; None where they do not span it."""
    known = of.filter(pl.col("date") <= day)
    if known.is_empty() or known["date"][-1] != day:
        return None
    if isinstance(length, int):
        return ratio_of(known.tail(length), clock) if known.height >= length else None
    window = known.filter(pl.col("date") > day - length)
    if window.height == known.height:
        return None
    if clock == "aligned":
        return ratio_of(window)
    # A window of the calendar cuts the weekend before its first return of gold.
    days = history.bitcoin.select("date", change=pl.col("close").log().diff()).filter(
        pl.col("date") > day - length, pl.col("date") <= day
    )
    deviation = days.select(pl.col("change").std()).item() / window.select(pl.col("gold").std()).item()
    return float(math.sqrt(BITCOIN_DAYS / GOLD_DAYS) * deviation)


def study(history: History) -> Iterator[tuple[Clock, str, str, list[float | None]]]:
    """Ratios on the dates, by clock, window and series of gold (§1.9)."""
    all_pairs = {name: pairs(history.bitcoin, prices) for name, prices in history.gold.items()}
    for clock in get_args(Clock):
        for window, length in LENGTHS.items():
            for name, of in all_pairs.items():
                yield clock, window, name, [ratio_on(history, of, length, call.day, clock) for call in CALLS]


def rms(ratios: Sequence[float | None]) -> float:
    """Root of the mean squared logarithmic error against the bank's, over the dates that are known."""
    squares = [
        math.log(one / call.ratio) ** 2 for one, call in zip(ratios, CALLS, strict=True) if one is not None
    ]
    return math.sqrt(sum(squares) / len(squares))


# The fair value.


class Valued(msgspec.Struct, frozen=True):
    """A fair value and what it follows from."""

    tonnes: float
    ounce_usd: float
    investment_usd: float
    supply: float
    ratio: Ratio
    value: float
    low: float
    high: float
    naive: float


def valued(history: History, table: GoldTable, call: Call) -> Valued | None:
    """The fair value of a date from public prices; None where the history does not reach."""
    ratio, wrong = ratio_at(history, call), naive(history, call)
    tonnes, supply = gold_tonnes(table, call.day), bitcoin_supply(call.day)
    if ratio is None or wrong is None or tonnes is None or supply is None:
        return None
    ounce = history.close(history.gold[SPOT], call.day)
    investment = gold_investment(tonnes.tonnes, ounce)
    band = fair_value(investment, ratio.draws, supply.value)
    return Valued(
        tonnes.tonnes, ounce, investment, supply.value, ratio,
        value=fair_value(investment, ratio.ratio, supply.value).mid_usd,
        low=band.low_usd or math.nan, high=band.high_usd or math.nan,
        naive=fair_value(investment, wrong, supply.value).mid_usd,
    )  # fmt: skip


# What the press printed (§1.2).


class Press(msgspec.Struct, frozen=True):
    """A printed result with the printed inputs that it should follow from. Dollars; halves of a last digit.

    With a `gold` of None, `parity` is what was printed for a ratio of 1.
    """

    name: str
    day: date
    price: float
    ratio: float
    ratio_half: float = 0.0
    gold: float | None = None
    gold_half: float = 0.05e12
    parity: float | None = None
    agrees: bool = True
    """As §1.2 found."""
    remark: str = ""


PRESS = (
    Press("A1", date(2021, 1, 4), 146_000, 1, gold=2.7e12),
    Press("A3", date(2021, 6, 23), 35_000, 4, parity=140_000),
    Press("A3", date(2021, 6, 23), 23_000, 6, parity=140_000),
    Press(
        "A4", date(2021, 11, 3), 35_000, 4, parity=146_000, agrees=False, remark="fits a parity of 140,000"
    ),
    Press("A4", date(2021, 11, 3), 73_000, 2, parity=146_000),
    Press("A5", date(2022, 2, 8), 38_000, 4, parity=150_000),
    Press("A5", date(2022, 2, 8), 50_000, 3, parity=150_000),
    Press(
        "A5", date(2022, 2, 8), 150_000, 1, gold=2.7e12, agrees=False, remark="the printed 2.7 tn is stale"
    ),
    Press("A6", date(2024, 3, 14), 45_000, 3.7, 0.05, gold=3.3e12),
    Press("A10", date(2025, 8, 28), 126_000, 2.0, 0.05, gold=5e12),
    Press("A11", date(2025, 10, 1), 165_000, 1.85, 0.005, gold=6e12, gold_half=0.5e12, remark='"about 6 tn"'),
    Press("A12", date(2025, 11, 5), 170_000, 1.8, 0.05, gold=6.2e12),
    Press("A13", date(2026, 2, 5), 266_000, 1.5, 0.05, gold=8e12),
)
THOUSAND_HALF = 500.0
"""Prices are printed in thousands."""


def interval(of: Press) -> tuple[float, float, float]:
    """The result at the printed inputs, and the least and the most that their rounding allows."""
    supply = bitcoin_supply(of.day)
    assert supply is not None  # noqa: S101 -- all are after 2020-05-11
    coins = supply.value if of.gold is not None else 1.0
    gold, half = (of.gold, of.gold_half) if of.gold is not None else (of.parity or math.nan, THOUSAND_HALF)
    low, high = rounding_interval(gold, half, of.ratio, of.ratio_half, coins)
    return gold / of.ratio / coins, low, high


def agrees(of: Press) -> bool:
    """Whether the printed price, within its own rounding, is one that the printed inputs allow."""
    _, low, high = interval(of)
    return low <= of.price + THOUSAND_HALF and high >= of.price - THOUSAND_HALF


# The page.

UNKNOWN = "\u2013"
_environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701 -- text


def page(history: History, table: GoldTable) -> str:
    """The whole document."""
    source = resources.files("monitor").joinpath("templates/replication.md").read_text("utf-8")
    ratios = [(call, ratio_at(history, call)) for call in CALLS]
    values = [(call, valued(history, table, call)) for call in CALLS]
    rows = list(study(history))
    errors = [abs(one.ratio / call.ratio - 1) for call, one in ratios if one is not None]
    off = [abs(one.value / call.price - 1) for call, one in values if one is not None]
    wrong = [one.naive / call.price - 1 for call, one in values if one is not None]
    best = min(rows, key=lambda row: rms(row[3]))
    return _environment.from_string(source).render(
        first=history.bitcoin["date"][0], last=history.bitcoin["date"][-1], tonnes_version=table.version,
        window=WINDOW, known=len(errors), calls=len(CALLS), missing=LAST,
        missing_ratio=STUDY["aligned", f"{WINDOW} td", SPOT][0],
        ratios=[_ratio_row(history, call, one) for call, one in ratios], worst_ratio=_percent(max(errors)),
        values=[_value_row(call, one) for call, one in values], mean_value=_percent(sum(off) / len(off)),
        worst_value=_percent(max(off)), mean_naive=f"+{_percent(sum(wrong) / len(wrong))}",
        study=[(title, _study_rows(clock, rows)) for clock, title in TITLES.items()],
        study_head=["window", "gold", *(call.day for call in CALLS), "RMS, ours", "RMS, all", "RMS printed"],
        lowest=f"{best[1]} of {best[2]}, {TITLES[best[0]].lower()}",
        press=[_press_row(of) for of in PRESS], solved=_solved(history, table),
    )  # fmt: skip


TITLES: Mapping[Clock, str] = {"aligned": "Bitcoin on gold's days", "own": "Each by its own clock"}


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _versus(value: float, published: float) -> str:
    return f"{(value / published - 1) * 100:+.1f} %"


def _band(low: float, high: float, form: str) -> str:
    return f"{low:{form}} to {high:{form}}"


def _ratio_row(history: History, call: Call, one: Ratio | None) -> Sequence[str]:
    bank = f"{call.ratio:g}" if call.printed else f"*{call.ratio:g}*"
    own, wrong = ratio_at(history, call, "own"), naive(history, call)
    if one is None or own is None or wrong is None:
        return str(call.day), bank, "not computable from this history", *[UNKNOWN] * 5
    return (
        str(call.day), bank, f"{one.ratio:.3f}", _band(one.low, one.high, ".2f"),
        _versus(one.ratio, call.ratio), f"{own.ratio:.3f}", f"{wrong:.3f}", _versus(wrong, call.ratio),
    )  # fmt: skip


def _value_row(call: Call, one: Valued | None) -> Sequence[str]:
    bank = f"{call.price:,.0f}"
    if one is None:
        return (
            str(call.day),
            *[UNKNOWN] * 5,
            "not computable from this history",
            UNKNOWN,
            bank,
            *[UNKNOWN] * 3,
        )
    return (
        str(call.day), f"{one.tonnes:,.0f}", f"{one.ounce_usd:,.2f}", f"{one.investment_usd / 1e12:.3f}",
        f"{one.supply / 1e6:.4f}", f"{one.ratio.ratio:.3f}", f"{one.value:,.0f}",
        _band(one.low, one.high, ",.0f"), bank, _versus(one.value, call.price), f"{one.naive:,.0f}",
        _versus(one.naive, call.price),
    )  # fmt: skip


def _study_rows(
    wanted: Clock, rows: Sequence[tuple[Clock, str, str, list[float | None]]]
) -> Iterator[Sequence[str]]:
    yield "*bank*", "", *(f"*{call.ratio:g}*" for call in CALLS), "", "", ""
    for clock, window, gold, ratios in rows:
        if clock == wanted:
            last, printed = STUDY[clock, window, gold]
            ours = (UNKNOWN if one is None else f"{one:.3f}" for one in ratios[:-1])
            errors = (rms(ratios), rms([*ratios[:-1], last]), printed)
            yield window, gold, *ours, f"*{last:.3f}*", *(f"{error:.3f}" for error in errors)


def _press_row(of: Press) -> Sequence[str]:
    result, low, high = interval(of)
    inputs = f"{of.gold / 1e12:g} tn" if of.gold is not None else f"parity {of.parity:,.0f}"
    return (
        of.name, str(of.day), f"{inputs}, ratio {of.ratio:g}", f"{result:,.0f}", _band(low, high, ",.0f"),
        f"{of.price:,.0f}", "yes" if agrees(of) else "**no**", of.remark,
    )  # fmt: skip


SOLVED = date(2025, 11, 4)
PARITY = Call(date(2021, 4, 1), 1, False, 130_000)
UPLIFT, GAP = 0.67, 68_000
"""Printed in November 2025: the fair value is so much above the price, as a share and in dollars."""


def solve(uplift: float, gap: float) -> tuple[float, float]:
    """The price and the fair value that a printed share and a printed gap mean together."""
    return gap / uplift, gap / uplift + gap


def _solved(history: History, table: GoldTable) -> dict[str, Any]:
    call = next(call for call in CALLS if call.day == SOLVED)
    spot, value = solve(UPLIFT, GAP)
    close = history.close(history.bitcoin, call.day)
    ours = valued(history, table, call)
    tonnes, coins = gold_tonnes(table, PARITY.day), bitcoin_supply(PARITY.day)
    assert ours is not None and tonnes is not None and coins is not None  # noqa: S101, PT018 -- it has the days
    ounce = history.close(history.gold[SPOT], PARITY.day)
    return {
        "parity_day": PARITY.day, "parity_gold": f"{PARITY.price * coins.value / 1e12:.3f}",
        "parity_ours": f"{gold_investment(tonnes.tonnes, ounce) / 1e12:.3f}",
        "spot": f"{spot:,.0f}", "value": f"{value:,.0f}", "day": call.day, "close": f"{close:,.0f}",
        "cap": f"{spot * ours.supply / 1e12:.3f}", "fair_cap": f"{value * ours.supply / 1e12:.3f}",
        "ours": f"{ours.value:,.0f} ({_band(ours.low, ours.high, ',.0f')})",
        "gap": f"{ours.value - close:+,.0f} ({_versus(ours.value, close)})",
        "break_even": f"{ours.investment_usd / (close * ours.supply):.2f}",
    }  # fmt: skip


def main(
    history: Annotated[Path, typer.Option(help="Folder of the price tables.")] = Path("../shared/history"),
) -> None:
    """Print the page."""
    try:
        typer.echo(page(read(history), gold_table()), nl=False)
    except Problem as error:
        typer.echo(f"replication: {error}", err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(main)
