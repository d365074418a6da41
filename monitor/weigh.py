"""What slow sources and years of closes say at an instant: gold and fair value, CME, ETF flows.

Pure: what the sources told, closes, and the time go in. `weigh` is what an hour or a new answer changes, and
may take a second; `frames` adds at a tick what follows from the price of now. A source that is older than it
may be tells nothing: what depends on it is absent, and never an old number. While spot gold rests the newest
prices of what stands for it (`sources/gold_proxy.py`) are passed on, and enter nothing else.

Conditions of the market, each with hysteresis, known only while its inputs are:

* `volatility_ratio_below_2`: begins under 2.0, ends above 2.1; of 126 trading days of spot gold.
* `fair_value_above_price`: turns over when the gap of the other sign is larger than its error, and is unknown
  until a gap was once.
* `perps_and_cme_disagree`: bitcoin's change minus ether's has the other sign at CME than among perpetuals. At
  CME it is the position proxy of four weeks without spreads over open interest, among perpetuals the
  price-neutral growth of open interest over the same days (methodology §0.1, §4). Begins when both
  differences are larger than 2 % of open interest, ends when the signs agree or one of them is under 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import get_args

import msgspec
import polars as pl

from monitor.events import Millis
from monitor.ladder import DAY, HOUR
from monitor.macro.cme import WEEKLY, cme_rows, increments, liquidation, usable
from monitor.macro.etf import Label, cumulative, redemption
from monitor.macro.valuation import (
    CERTAIN,
    FairValue,
    GoldTable,
    Known,
    Tonnes,
    bitcoin_issued,
    bitcoin_supply,
    fair_value,
    gold_investment,
    gold_tonnes,
)
from monitor.metrics.metric import LABELS
from monitor.sources import SOURCES
from monitor.sources.cftc import SPREADS
from monitor.sources.etf import TOTAL
from monitor.sources.gold import closed
from monitor.sources.supply import agreed_height
from monitor.sources.tonnes import as_table
from monitor.volatility.ratio import STALE, WINDOW, Clock, NotCovered, Ratio, volatility_ratio
from monitor.volatility.realized import (
    GOLD_DAYS,
    OF_CLOSES,
    PREMIUM_ESTIMATOR,
    PREMIUM_WINDOW,
    VALUES,
    realized,
)

WINDOWS = (60, 63, 90, WINDOW, 252)
"""Returns of gold: the window of the bank's figures and others beside it (methodology §1.7)."""
CLOCKS: tuple[Clock, ...] = ("aligned", "own")
"""The default and the variant beside it (methodology §2)."""
RATIO_BEGINS, RATIO_ENDS = 2.0, 2.1
DISAGREE_BEGINS, DISAGREE_ENDS = 0.02, 0.01
"""Of open interest, the difference between bitcoin and ether."""
MONTH = timedelta(days=28)
SHIFT = timedelta(days=4)
"""Reports may be so much nearer or farther than four weeks: holidays move them, shutdowns leave gaps."""
KNOWN_DAYS = 0.8
"""Share of the days on which the growth of the perpetuals must be known."""
REDEMPTION_DAYS = 6
"""Trading days in which redemptions are counted (methodology §5)."""
PAIR = ("BTC", "ETH")
CONDITIONS = ("volatility_ratio_below_2", "fair_value_above_price", "perps_and_cme_disagree")
LIFE: Millis = 3 * HOUR
"""What was weighed is shown so long; it is weighed each hour."""
GOLD_FIRST = ("gold_own", "lbma_pm", "lbma_am")
"""Which daily series volatility is computed from: the first of them that is fresh."""


class Told(msgspec.Struct, frozen=True):
    """The last good answer of a source."""

    frame: pl.DataFrame
    """In the schema of its kind (`sources/`)."""
    as_of: Millis


class Days(msgspec.Struct, frozen=True):
    """What the closed days say."""

    closes: pl.DataFrame
    """`asset`, `date` (UTC), `close`: median over the venues."""
    growth: pl.DataFrame
    """`asset`, `date`, `growth`: price-neutral log change of the perpetuals' open interest; null: unknown."""


def closed_days(assessed: pl.DataFrame) -> Days:
    """The daily series of assets (`aggregate.DAYS`) as it is looked at here."""
    if assessed.is_empty():
        kinds = {"asset": pl.String, "date": pl.Date}
        return Days(
            pl.DataFrame(schema=kinds | {"close": pl.Float64}),
            pl.DataFrame(schema=kinds | {"growth": pl.Float64}),
        )
    of = assessed.filter(pl.col("price").is_not_null() | pl.col("growth").is_not_null())
    on = pl.col("day").cast(pl.Date).alias("date")
    return Days(of.select("asset", on, close="price").drop_nulls(), of.select("asset", on, "growth"))


class Macro(msgspec.Struct, frozen=True):
    """What was weighed at an instant, without the price of now. Null is not known."""

    at: Millis
    ratios: Sequence[Ratio]
    """Of each window by each clock, where it is covered."""
    gold: pl.DataFrame
    """Daily closes that the ratios are of: `date`, `close`."""
    bitcoin: pl.DataFrame
    assets: pl.DataFrame
    """`ASSETS`, a row per asset."""
    sizes: pl.DataFrame
    """`asset`, `kind`, `value`: which size redemptions are of."""
    realized: pl.DataFrame
    """Gold's realised volatility, and that of both over the ratio's window (`realized.VALUES`)."""
    jumps: pl.DataFrame
    ounce: Known | None
    tonnes: Tonnes | None
    investment: float | None
    """Dollars."""
    supplies: Mapping[str, Known]
    """Coins that sources told, by asset."""
    value: FairValue | None
    """Against no price."""
    conditions: Mapping[str, bool]
    """Last states, also of those that are unknown now."""
    known: frozenset[str]
    """Conditions whose inputs are known."""
    proxies: pl.DataFrame
    """`PROXIES`: what stands for gold while spot gold rests. Nothing above is made of it."""

    @property
    def ratio(self) -> Ratio | None:
        """The default one."""
        return _default(self.ratios)


ASSETS = {
    "asset": pl.String, "cme_coins": pl.Float64, "cme_proxy_coins": pl.Float64,
    "cme_proxy_ratio": pl.Float64, "cme_long_ratio": pl.Float64, "etf_flow_usd": pl.Float64,
    "etf_cumulative_usd": pl.Float64, "etf_drawdown_usd": pl.Float64, "etf_redemption_ratio": pl.Float64,
    "etf_redemption_to_assets_ratio": pl.Float64, "implied": pl.Float64,
}  # fmt: skip
PROXIES = {"source": pl.String, "symbol": pl.String, "value": pl.Float64}
"""Dollars of a stablecoin per ounce."""


def weigh(
    told: Mapping[str, Told], days: Days, shipped: GoldTable, now: Millis,
    previous: Macro | None = None, conditions: Mapping[str, bool] | None = None,
) -> Macro:  # fmt: skip
    """All that does not depend on the price of now.

    Args:
        told: by the name of the source.
        days: what closed days say.
        shipped: the table of tonnes that comes with the program, where the operator's is not there.
        now: market time, milliseconds.
        previous: the last result; ratios are taken from it where their prices are the same.
        conditions: their last states, for hysteresis; those of `previous` if absent.
    """
    today = _date(now)
    gold, bitcoin = gold_daily(told, now), _closes(days.closes, "BTC")
    if previous is not None and previous.gold.equals(gold) and previous.bitcoin.equals(bitcoin):
        ratios = previous.ratios
    else:
        ratios = tuple(_ratios(bitcoin, gold))
    ratios = tuple(one for one in ratios if today - one.on <= STALE)
    ratio = _default(ratios)
    ounce, tonnes = ounce_usd(told, now), tonnes_at(told, shipped, now)
    investment = None if ounce is None or tonnes is None else gold_investment(tonnes.tonnes, ounce.value)
    supplies = supplies_at(told, now)
    coins = supplies.get("BTC") or bitcoin_supply(today)
    value = None
    if investment is not None and ratio is not None and coins is not None:
        value = fair_value(investment, ratio.draws, coins.value)
    cme, differs = _cme(told, days, now)
    etf, sizes = _etf(told, now)
    states = dict((previous.conditions if previous is not None else {}) if conditions is None else conditions)
    known = set()
    if ratio is not None:
        kind = "volatility_ratio_below_2"
        states[kind] = ratio.ratio <= RATIO_ENDS if states.get(kind) else ratio.ratio < RATIO_BEGINS
        known.add(kind)
    if differs is not None:
        kind = "perps_and_cme_disagree"
        states[kind] = disagree(*differs, held=states.get(kind, False))
        known.add(kind)
    moved, jumps = _moves(gold, today)
    if ratio is not None:
        moved = pl.concat([moved, _both(ratio)])
    return Macro(
        at=now, ratios=ratios, gold=gold, bitcoin=bitcoin, assets=_assets(cme, etf, implied(told, now)),
        sizes=sizes, realized=moved, jumps=jumps, ounce=ounce, tonnes=tonnes, investment=investment,
        supplies=supplies, value=value, conditions=states, known=frozenset(known),
        proxies=proxies_at(told, now),
    )  # fmt: skip


def _date(now: Millis) -> date:
    return datetime.fromtimestamp(now / 1000, UTC).date()


def fresh(told: Mapping[str, Told], kind: str, now: Millis) -> dict[str, Told]:
    """The sources of a kind that are not older than they may be."""
    return {
        name: told[name]
        for name, source in SOURCES.items()
        if source.kind == kind and name in told and now - told[name].as_of <= source.max_age
    }


# Gold.


def gold_daily(told: Mapping[str, Told], now: Millis) -> pl.DataFrame:
    """Daily closes of spot gold, `date` and `close`, of one source: several are never mixed."""
    tables = {n: of for n, of in fresh(told, "gold", now).items() if n in GOLD_FIRST and of.frame.height > 1}
    for name in GOLD_FIRST:
        if name in tables:
            prices = tables[name].frame.select(ts="time", close="price_usd_oz")
            return trading_days(prices).select("date", "close")
    return pl.DataFrame(schema={"date": pl.Date, "close": pl.Float64})


_ROLL = timedelta(hours=7)
"""A trading day of gold begins at 17:00 in New York, seven hours before midnight there."""


def trading_days(gold: pl.DataFrame) -> pl.DataFrame:
    """The last price of each trading day of gold, where the table (`ts`, `close`) is finer than days."""
    if "ts" not in gold.columns:
        return gold
    local = pl.col("ts").dt.convert_time_zone("America/New_York").dt.replace_time_zone(None)
    return (
        gold.with_columns(date=(local + _ROLL).dt.date())
        .group_by("date", maintain_order=True)
        .agg(pl.col("ts", "close").last())
    )


def ounce_usd(told: Mapping[str, Told], now: Millis) -> Known | None:
    """The newest price of spot gold; none where it is of more than four days ago (`gold_stale`)."""
    found = [
        (row["time"], row["price_usd_oz"], name)
        for name, of in fresh(told, "gold", now).items()
        for row in of.frame.tail(1).iter_rows(named=True)
    ]
    if not found:
        return None
    time, price, name = max(found, key=lambda one: one[0])
    if datetime.fromtimestamp(now / 1000, UTC) - time > STALE:
        return None
    return Known(price, name, time.date())


def proxies_at(told: Mapping[str, Told], now: Millis) -> pl.DataFrame:
    """What stands for gold (`PROXIES`), while spot gold rests; no row while it is traded.

    Nothing but what is shown may read it: it is another price than gold's, by a token's premium or a
    perpetual's, and its weekend would be a return that gold never had.
    """
    rows = [
        (name, of.frame["symbol"][-1], of.frame["proxy_usd_oz"][-1])
        for name, of in (fresh(told, "gold_proxy", now) if closed(now) else {}).items()
    ]
    return pl.DataFrame(rows, schema=PROXIES, orient="row")


def tonnes_at(told: Mapping[str, Told], shipped: GoldTable, now: Millis) -> Tonnes | None:
    """Private gold as it was known then; none where the year's table is missing, or the operator's is old."""
    table = shipped
    if "gold_tonnes" in told:
        if not fresh(told, "gold_tonnes", now):
            return None
        table = as_table(told["gold_tonnes"].frame)
    found = gold_tonnes(table, _date(now))
    return None if found is None or found.stale else found


def implied(told: Mapping[str, Told], now: Millis) -> float | None:
    """Implied volatility of gold, a fraction a year: the newest value of a fresh source."""
    found = [of.frame.row(-1) for of in fresh(told, "gvz", now).values()]
    return float(max(found, key=lambda row: row[0])[1]) if found else None


def _moves(gold: pl.DataFrame, today: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Gold's realised volatility from its daily closes, by its own clock, up to the newest of them."""
    closes = gold.filter(pl.col("date") <= today).select(
        time=pl.col("date").cast(pl.Datetime("ms")).cast(pl.Int64), asset=pl.lit("GOLD"),
        **dict.fromkeys(("open", "high", "low", "close"), pl.col("close")),
    )  # fmt: skip
    newest = closes["time"].max()
    last = newest if isinstance(newest, int) else 0
    return realized(closes, DAY, last, days=GOLD_DAYS, shown=OF_CLOSES)


def _closes(closes: pl.DataFrame, asset: str) -> pl.DataFrame:
    return closes.filter(pl.col("asset") == asset).select("date", "close").drop_nulls().sort("date")


def _both(ratio: Ratio) -> pl.DataFrame:
    """The two volatilities (`realized.VALUES`) of a ratio: gold's, and bitcoin's sampled at gold's times."""
    both = {"BTC": ratio.bitcoin_volatility, "GOLD": ratio.gold_volatility}
    rows = [(asset, f"{ratio.window}d", "close_to_close", value) for asset, value in both.items()]
    return pl.DataFrame(rows, schema=VALUES, orient="row")


def _default(ratios: Sequence[Ratio]) -> Ratio | None:
    return next((one for one in ratios if (one.window, one.clock) == (WINDOW, CLOCKS[0])), None)


def _ratios(bitcoin: pl.DataFrame, gold: pl.DataFrame) -> Iterator[Ratio]:
    """The windows that are covered until bitcoin's last close, by each clock."""
    for window in WINDOWS:
        for clock in CLOCKS:
            try:
                yield volatility_ratio(bitcoin, gold, window, clock=clock)
            except NotCovered:
                continue


# Supply.


def supplies_at(told: Mapping[str, Told], now: Millis) -> dict[str, Known]:
    """Coins by asset, where sources agree on a height, or tell ether's supply."""
    found = {}
    if (height := height_at(told, now)) is not None:
        found["BTC"] = Known(bitcoin_issued(round(height.value) + 1), height.source, height.as_of, 0.0)
    rows = [(of.frame.row(-1), name) for name, of in fresh(told, "eth_supply", now).items()]
    if rows:
        (time, coins), name = max(rows, key=lambda one: one[0][0])
        found["ETH"] = Known(coins, name, time.date())
    return found


def height_at(told: Mapping[str, Told], now: Millis) -> Known | None:
    """Height of the newest block that two sources reach; a chain of height h has h + 1 blocks."""
    found = fresh(told, "height", now)
    height = agreed_height([int(of.frame["height"][-1]) for of in found.values()])
    return None if height is None else Known(height, ", ".join(found), _date(now))


# CME.


def _cme(
    told: Mapping[str, Told], days: Days, now: Millis
) -> tuple[dict[str, dict[str, float | None]], tuple[float, float] | None]:
    """Columns of the assets; and bitcoin minus ether, at CME and among perpetuals."""
    weekly = cftc_weekly(told, days.closes, now)
    daily = _cme_daily(told, now)
    found: dict[str, dict[str, float | None]] = {}
    changes: dict[str, tuple[float, float]] = {}
    for asset in PAIR:
        mine = weekly.filter(pl.col("asset") == asset)
        row: dict[str, float | None] = {}
        if mine.height:
            rows = increments(mine)
            row = {"cme_coins": rows["open_interest"][-1], "cme_proxy_coins": _position(rows)}
            end = rows["date"][-1]
            start = min(rows["date"], key=lambda day: abs(end - day - MONTH))
            if abs(end - start - MONTH) <= SHIFT:
                month = liquidation(mine, start, end).row(0, named=True)
                proxy = month["outright_proxy_ratio"]
                row |= {"cme_proxy_ratio": proxy, "cme_long_ratio": month["outright_long_ratio"]}
                grown = perps_change(days.growth, asset, start, end)
                if proxy is not None and grown is not None:
                    changes[asset] = proxy, grown
        if asset in daily:
            row["cme_coins"] = daily[asset]
        found[asset] = row
    if len(changes) < len(PAIR):
        return found, None
    (proxy, grown), (other_proxy, other_grown) = (changes[asset] for asset in PAIR)
    return found, (proxy - other_proxy, grown - other_grown)


def cftc_weekly(told: Mapping[str, Told], closes: pl.DataFrame, now: Millis) -> pl.DataFrame:
    """Rows of `cme.WEEKLY` that were out, with the close of the report's day as their price."""
    if not (found := fresh(told, "cftc", now)):
        return pl.DataFrame(schema=WEEKLY)
    spreads = pl.sum_horizontal(*SPREADS, ignore_nulls=False)
    rows = cme_rows(
        found["cftc"].frame.select(
            "open_interest", contract="code", date="report_date", spreads=spreads,
            price=pl.lit(None, dtype=pl.Float64),
        )
    ).drop("price").join(
        closes.select("asset", "date", price="close"), on=["asset", "date"], how="left"
    ).select(*WEEKLY)  # fmt: skip
    return usable(rows, datetime.fromtimestamp(now / 1000, UTC))


def _position(rows: pl.DataFrame) -> float | None:
    """The position cumulated since the first week whose price is known; None with a hole in it."""
    first = rows["outright_increment"].is_not_null().arg_max()
    since = rows["outright_increment"].slice(first or 0)
    return None if since.null_count() or since.is_empty() else float(since.sum())


def _cme_daily(told: Mapping[str, Told], now: Millis) -> dict[str, float]:
    """Coins on the newest trade date of the operator's table; none where a contract is missing."""
    if not (found := fresh(told, "cme", now)):
        return {}
    rows = increments(
        cme_rows(
            found["cme"].frame.select(
                "open_interest", "date", contract="symbol", price="settle",
                spreads=pl.lit(None, dtype=pl.Float64),
            )
        )
    )  # fmt: skip
    newest = rows.group_by("asset", maintain_order=True).last().drop_nulls("open_interest")
    return {str(asset): float(coins) for asset, coins in newest.select("asset", "open_interest").iter_rows()}


def perps_change(growth: pl.DataFrame, asset: str, start: date, end: date) -> float | None:
    """Price-neutral change of the perpetuals' open interest between two closes, a fraction; None if unknown.

    A few days without growth, as of a restart, are left out of the sum.
    """
    rows = growth.filter(pl.col("asset") == asset, pl.col("date") > start, pl.col("date") <= end)["growth"]
    known = len(rows) - rows.null_count()
    if known < KNOWN_DAYS * (end - start).days:
        return None
    return math.expm1(float(rows.sum()))


def disagree(cme: float, perps: float, *, held: bool) -> bool:
    """Whether the one market tells the opposite of bitcoin against ether than the other.

    Args:
        cme: bitcoin's change minus ether's at CME, of open interest.
        perps: the same among perpetuals.
        held: whether they disagreed until now.
    """
    return cme * perps < 0 and min(abs(cme), abs(perps)) >= (DISAGREE_ENDS if held else DISAGREE_BEGINS)


# ETF flows.


def _etf(told: Mapping[str, Told], now: Millis) -> tuple[dict[str, dict[str, float | None]], pl.DataFrame]:
    """Columns of the assets, and a row per asset and size."""
    found: dict[str, dict[str, float | None]] = {}
    sizes: list[tuple[str, str, float]] = []
    for of in fresh(told, "etf", now).values():
        flows = cumulative(of.frame.filter(pl.col("fund") == TOTAL))
        reported = flows.drop_nulls("flow_usd")
        if reported.is_empty():
            continue
        last = reported.row(-1, named=True)
        row: dict[str, float | None] = {
            "etf_flow_usd": last["flow_usd"], "etf_cumulative_usd": last["cumulative_usd"],
            "etf_drawdown_usd": last["drawdown_usd"],
        }  # fmt: skip
        windows = redemption_windows(flows)
        if windows is not None:
            (start, _), _ = windows
            assets = _assets_before(told, now, last["asset"], start)
            said = redemption(flows, *windows, assets_usd=assets)
            row |= {
                "etf_redemption_ratio": said.ratio, "etf_redemption_to_assets_ratio": said.assets_ratio,
            }  # fmt: skip
            if said.label is not None:
                sizes += [(last["asset"], kind, float(kind == said.label)) for kind in get_args(Label)]
        found[last["asset"]] = row
    return found, pl.DataFrame(sizes, schema=_SIZES, orient="row")


_SIZES = {"asset": pl.String, "kind": pl.String, "value": pl.Float64}


def redemption_windows(flows: pl.DataFrame) -> tuple[tuple[date, date], tuple[date, date]] | None:
    """The last six trading days, and the two weeks that ended with that of the peak before them.

    The peak is of cumulative flow; weeks are Monday to Friday, as flows are published (methodology §5).

    Args:
        flows: As of `etf.cumulative`, of one asset.
    """
    until = flows.drop_nulls("flow_usd")["date"].max()
    days = flows.filter(pl.col("date") <= until)["date"]
    if len(days) <= REDEMPTION_DAYS or not isinstance(until, date):
        return None
    start = days[-REDEMPTION_DAYS]
    before = flows.filter(pl.col("date") < start).drop_nulls("cumulative_usd")
    if before.is_empty():
        return None
    peak: date = before.sort("cumulative_usd", descending=True, maintain_order=True)["date"][0]
    monday = peak - timedelta(days=peak.weekday() + 7)
    return (start, until), (monday, min(monday + timedelta(days=11), start - timedelta(days=1)))


ASSETS_LIFE = timedelta(days=10)
"""Assets follow the price of the coins: older ones are another market's."""


def _assets_before(told: Mapping[str, Told], now: Millis, asset: str, start: date) -> float | None:
    """Assets of an asset's funds on the last day before a window, where the operator tells them."""
    for of in fresh(told, "etf_assets", now).values():
        since = pl.col("date").is_between(start - ASSETS_LIFE, start, closed="left")
        before = of.frame.filter((pl.col("asset") == asset) & since)
        if before.height:
            return float(before.sort("date")["assets_usd"][-1])
    return None


def _assets(
    cme: Mapping[str, Mapping[str, float | None]], etf: Mapping[str, Mapping[str, float | None]],
    gold: float | None,
) -> pl.DataFrame:  # fmt: skip
    rows = [
        {"asset": asset, **cme.get(asset, {}), **etf.get(asset, {})} for asset in dict.fromkeys([*cme, *etf])
    ]
    return pl.DataFrame([*rows, {"asset": "GOLD", "implied": gold}], schema=ASSETS)


# At a tick.


def frames(
    macro: Macro | None, asset: pl.DataFrame, looked: Mapping[str, pl.DataFrame], *,
    above: bool | None = None,
) -> tuple[dict[str, pl.DataFrame], bool | None]:  # fmt: skip
    """The views of macro metrics, and whether the fair value is above the price (None: never certain yet).

    Without anything weighed, as in a replay, `asset_macro` holds what ticks and bars tell, and the others
    are missing.

    Args:
        macro: what was weighed last; None where that was longer ago than `LIFE`.
        asset: `Views.asset`: of it `asset`, `implied` and the reference price of BTC.
        looked: `Looked.frames`: of it `asset_window_estimator` and `asset_horizon`; gold's are added.
        above: as returned at the last tick.
    """
    if macro is None:
        return {"asset_macro": _asset_macro(None, asset, looked["asset_window_estimator"])}, above
    moved = pl.concat([looked["asset_window_estimator"], macro.realized])
    spots = asset.filter(pl.col("asset") == "BTC")["reference"]
    spot = spots[0] if len(spots) else None
    value, ratio = macro.value, macro.ratio
    gap, certain = None, None
    if value is not None and ratio is not None and spot:
        gap = value.mid_usd - spot
        certain = abs(math.log(value.mid_usd / spot)) > CERTAIN * ratio.error
        above = gap > 0 if certain else above
    market = {
        "gold_price_usd": None if macro.ounce is None else macro.ounce.value,
        "gold_tonnes": None if macro.tonnes is None else macro.tonnes.tonnes,
        "gold_private_investment_usd": macro.investment,
        "gap_usd": gap,
        "gap_ratio": None if gap is None else gap / spot,
        "gap_certain": None if certain is None else float(certain),
        "break_even_ratio": None if value is None or not spot else value.parity_usd / spot,
    }
    states = {kind: macro.conditions.get(kind) if kind in macro.known else None for kind in CONDITIONS}
    states["fair_value_above_price"] = None if gap is None else above
    return {
        "asset_macro": _asset_macro(macro, asset, moved),
        "asset_window_estimator": moved,
        "asset_horizon": pl.concat([looked["asset_horizon"], macro.jumps], how="diagonal"),
        "market": pl.DataFrame([market], schema=dict.fromkeys(market, pl.Float64)),
        "bound": _named("bound", _bounds(value)),
        "ratio": _by_clock(macro.ratios),
        "asset_kind_macro": macro.sizes,
        "kind_macro": _named("kind", {k: None if v is None else float(v) for k, v in states.items()}),
        "gold_proxy": macro.proxies,
    }, above  # fmt: skip


def _by_clock(ratios: Sequence[Ratio]) -> pl.DataFrame:
    """A row per window and bound, a column per clock."""
    rows: dict[tuple[str, str, str], dict[str, float]] = {}
    for one in ratios:
        for bound, number in (("mid", one.ratio), ("low", one.low), ("high", one.high)):
            rows.setdefault((f"{one.window}d", "spot", bound), {})[one.clock] = number
    return pl.DataFrame(
        [(*labels, *map(by_clock.get, CLOCKS)) for labels, by_clock in rows.items()],
        schema=dict.fromkeys(LABELS["ratio"], pl.String) | dict.fromkeys(CLOCKS, pl.Float64), orient="row",
    )  # fmt: skip


def _bounds(value: FairValue | None) -> dict[str, float | None]:
    return {} if value is None else {"low": value.low_usd, "mid": value.mid_usd, "high": value.high_usd}


def _named(label: str, values: Mapping[str, float | None]) -> pl.DataFrame:
    return pl.DataFrame(list(values.items()), schema={label: pl.String, "value": pl.Float64}, orient="row")


def _asset_macro(macro: Macro | None, asset: pl.DataFrame, moved: pl.DataFrame) -> pl.DataFrame:
    """What slow sources tell of assets, beside the implied volatility of now and what it is above realised.

    The variance premium is implied² - realised², both annualised, of 30 days: what is implied now less what
    close-to-close returns of the last 30 days were. Positive is usual: insurance costs more than its damage.
    """
    slow = {} if macro is None else {row["asset"]: row for row in macro.assets.iter_rows(named=True)}
    live = dict(asset.select("asset", "implied").iter_rows())
    of = (pl.col("window") == PREMIUM_WINDOW) & (pl.col("estimator") == PREMIUM_ESTIMATOR)
    known = dict(moved.filter(of).select("asset", "value").iter_rows())
    rows = []
    for name in dict.fromkeys([*live, *slow]):
        row = {"asset": name} | slow.get(name, {})
        said = live[name] if name in live else row.get("implied")
        past = known.get(name)
        premium = None if said is None or past is None else said**2 - past**2
        rows.append(row | {"implied": said, "variance_premium": premium})
    return pl.DataFrame(rows, schema=ASSETS | {"variance_premium": pl.Float64})
