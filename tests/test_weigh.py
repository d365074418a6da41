"""What slow sources say: weighed, priced at ticks, kept across restarts, and absent where they are old."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import variance

import aiohttp
import msgspec
import polars as pl
import pytest
from aiohttp import web
from conftest import rest_server, until
from hypothesis import given, settings, strategies as st
from prometheus_client.parser import text_string_to_metric_families
from small_market import PRICE, Small

from monitor import weigh as weighing
from monitor.app import CONDITIONS, gold_table, running, supply
from monitor.bars import BAR
from monitor.clock import Clock
from monitor.commands.valuation import stored
from monitor.config import Config, SourceConfig
from monitor.deleveraging.past import Past
from monitor.deleveraging.phases import Thresholds
from monitor.demo import START, against, plant
from monitor.feeds.slow import Slow, chosen
from monitor.health import Health
from monitor.ladder import DAY, HOUR, MINUTE
from monitor.macro.valuation import Given, complete, fair_value
from monitor.metrics.macro import MACRO
from monitor.page import page
from monitor.prometheus.exposition import Writer
from monitor.simulated import SCENARIOS, Market, simulate
from monitor.simulated.macro import told
from monitor.simulated.past import past
from monitor.sources import SOURCES, gold_proxy
from monitor.tick.compute import Core, Samples
from monitor.venues import VENUES
from monitor.volatility.estimators import volatilities
from monitor.volatility.ratio import volatility_ratio
from monitor.volatility.realized import REFERENCE, Realized, realized, reference
from monitor.weigh import Days, Macro, Told, closed_days, disagree, frames, redemption_windows, weigh

MARKET = Market(SCENARIOS["calm"], seed=1, start=START)


@lru_cache(maxsize=1)
def days() -> Days:
    bars = past(MARKET, "day")
    scope = frozenset(bars["venue"].unique())
    return closed_days(Past(scope, Thresholds(), supply, bars).assessed)


@lru_cache(maxsize=1)
def weighed() -> Macro:
    return weigh(told(MARKET, START), days(), gold_table(), START)


SATURDAY = START + 3 * DAY


@lru_cache(maxsize=1)
def at_the_weekend() -> Macro:
    return again(told(MARKET, SATURDAY), SATURDAY)


def again(sources: Mapping[str, Told], now: int = START, previous: Macro | None = None) -> Macro:
    """Without another bootstrap where prices are the same."""
    return weigh(sources, days(), gold_table(), now, previous or weighed())


def priced(macro: Macro | None, spot: float | None = PRICE) -> dict[str, pl.DataFrame]:
    return frames(macro, asset_view(spot), LOOKED)[0]


def asset_view(spot: float | None) -> pl.DataFrame:
    return pl.DataFrame(
        {"asset": ["BTC"], "reference": [spot], "implied": [0.5]},
        schema={"asset": pl.String, "reference": pl.Float64, "implied": pl.Float64},
    )


LOOKED = {
    "asset_window_estimator": pl.DataFrame(
        {"asset": ["BTC"], "window": ["30d"], "estimator": ["close_to_close"], "value": [0.4]}
    ),
    "asset_horizon": pl.DataFrame(
        {"asset": ["BTC"], "window": ["7d"], "value": [0.16], "jump_share": [None]},
        schema={"asset": pl.String, "window": pl.String, "value": pl.Float64, "jump_share": pl.Float64},
    ),
}


def cell(frame: pl.DataFrame, column: str, **of: str) -> float | None:
    rows = frame.filter([pl.col(name) == value for name, value in of.items()])
    assert rows.height <= 1
    found: float | None = rows[column][0] if rows.height else None
    return found


# Weighing.


def test_each_declared_value_is_there_when_all_sources_are() -> None:
    found = priced(weighed()) | {"gold_proxy": priced(at_the_weekend())["gold_proxy"]}
    for metric in MACRO:
        values = found[metric.view].select(metric.value.alias("x"))["x"]
        assert values.count() > 0, metric.name


def test_windows_are_named_in_trading_days_and_bounds_are_in_order() -> None:
    ratio = priced(weighed())["ratio"]
    assert ratio["window"].unique().sort().to_list() == ["126d", "252d", "60d", "63d", "90d"]
    for (_window,), rows in ratio.group_by("window"):
        for clock in weighing.CLOCKS:
            low, mid, high = (cell(rows, clock, bound=bound) for bound in ("low", "mid", "high"))
            assert low is not None
            assert mid is not None
            assert high is not None
            assert low < mid < high
        assert cell(rows, "aligned", bound="mid") != cell(rows, "own", bound="mid")


def test_either_clock_is_that_of_the_command() -> None:
    macro = weighed()
    ratio = priced(macro)["ratio"]
    for clock in weighing.CLOCKS:
        one = volatility_ratio(macro.bitcoin, macro.gold, clock=clock)
        found = [cell(ratio, clock, window="126d", bound=bound) for bound in ("low", "mid", "high")]
        assert found == [one.low, one.ratio, one.high]
    assert macro.ratio is not None
    assert macro.ratio.clock == "aligned"


def test_the_volatilities_of_both_over_golds_trading_days() -> None:
    """By hand: bitcoin at gold's days, both with 252 days a year, and the ratio is their quotient."""
    macro = weighed()
    found = {
        asset: cell(priced(macro)["asset_window_estimator"], "value", asset=asset, window="126d",
                    estimator="close_to_close")
        for asset in ("BTC", "GOLD")
    }  # fmt: skip
    bitcoin = dict(macro.bitcoin.select("date", "close").iter_rows())
    both = [(price, bitcoin[day]) for day, price in macro.gold.iter_rows() if day in bitcoin][-127:]
    for asset, prices in zip(("GOLD", "BTC"), zip(*both, strict=True), strict=True):
        returns = [math.log(now / before) for before, now in pairwise(prices)]
        assert found[asset] == pytest.approx(math.sqrt(252 * variance(returns)), rel=1e-9), asset
    assert found["BTC"] is not None
    assert found["GOLD"] is not None
    ratio = cell(priced(macro)["ratio"], "aligned", window="126d", bound="mid")
    assert found["BTC"] / found["GOLD"] == pytest.approx(ratio, rel=1e-12)


def test_without_bitcoins_past_there_is_no_volatility_over_golds_days() -> None:
    none = Days(days().closes.clear(), days().growth.clear())
    macro = weigh(told(MARKET, START), none, gold_table(), START)
    assert macro.ratios == ()
    assert "126d" not in macro.realized["window"]
    assert "90d" in macro.realized["window"]


HISTORY = Path(__file__).parents[1].parent / "shared" / "history"

if HISTORY.is_dir():

    @pytest.mark.parametrize(
        ("file", "gold", "aligned", "own"),
        [("gold_gld_daily", 0.2062, 1.670, 1.668), ("gold_xauusd_daily", 0.1881, 1.767, 1.788)],
    )
    def test_the_study_of_real_prices_comes_out_of_the_samples(
        file: str, gold: float, aligned: float, own: float
    ) -> None:
        """Methodology §1.9, 126 td, 2025-11-04: of a share of gold, and of spot."""
        day = date(2025, 11, 4)
        quoted = (
            pl.read_parquet(HISTORY / f"{file}.parquet")
            .filter(pl.col("date") <= day)
            .select(
                time=pl.col("date").cast(pl.Datetime("ms")).dt.offset_by("16h")
                .dt.replace_time_zone("America/New_York").dt.convert_time_zone("UTC"),
                price_usd_oz="close", source=pl.lit("gold_own"),
            )
        )  # fmt: skip
        closes = pl.read_parquet(HISTORY / "ohlcv_binance_spot_daily.parquet")
        no_growth = pl.DataFrame(schema={"asset": pl.String, "date": pl.Date, "growth": pl.Float64})
        evening = at(day, 23)
        of_days = Days(closes.select("asset", "date", "close").filter(pl.col("date") <= day), no_growth)
        macro = weigh({"gold_own": Told(quoted, evening)}, of_days, gold_table(), evening)
        found = priced(macro)
        of = {"window": "126d", "estimator": "close_to_close"}
        moved = found["asset_window_estimator"]
        assert cell(moved, "value", asset="GOLD", **of) == pytest.approx(gold, abs=5e-5)
        assert cell(moved, "value", asset="BTC", **of) == pytest.approx(gold * aligned, rel=1e-3)
        for clock, expected in (("aligned", aligned), ("own", own)):
            ratio = cell(found["ratio"], clock, window="126d", bound="mid")
            assert ratio == pytest.approx(expected, abs=1e-3)


# What stands for gold at weekends.

PROXIES = [name for name, source in SOURCES.items() if source.kind == "gold_proxy"]


def proxy(price: float, time: int) -> Told:
    moment = datetime.fromtimestamp(time / 1000, UTC)
    frame = pl.DataFrame([(moment, price, "XAUUSDT")], schema=gold_proxy.SCHEMA, orient="row")
    return Told(frame, time)


def test_what_stands_for_gold_is_there_while_spot_gold_rests_and_only_then() -> None:
    assert datetime.fromtimestamp(SATURDAY / 1000, UTC).weekday() == 5
    found = priced(at_the_weekend())["gold_proxy"]
    assert found.select("source", "symbol").rows() == [
        ("binance_xau", "XAUUSDT"), ("okx_xaut", "XAUT-USDT-SWAP"),
    ]  # fmt: skip
    assert found["value"].is_between(1000, 10_000).all()
    assert priced(weighed())["gold_proxy"].is_empty(), "on a Wednesday"
    friday, sunday = at(date(2026, 10, 2), 21), at(date(2026, 10, 4), 22)
    for now, there in ((friday - 1, 0), (friday, 1), (sunday - 1, 1), (sunday, 0)):
        assert weighing.proxies_at({"okx_xau": proxy(4000, now)}, now).height == there


def test_what_stands_for_gold_is_absent_once_it_is_older_than_an_hour() -> None:
    for age, there in ((HOUR, 1), (HOUR + 1, 0)):
        assert weighing.proxies_at({"okx_xau": proxy(4000, SATURDAY - age)}, SATURDAY).height == there


@settings(max_examples=40, deadline=None)
@given(
    prices=st.dictionaries(st.sampled_from(PROXIES), st.floats(1e-9, 1e9), max_size=len(PROXIES)),
    age=st.integers(0, 2 * HOUR),
    weekend=st.booleans(),
    spot=st.booleans(),
)
def test_what_stands_for_gold_enters_nothing(
    prices: dict[str, float], age: int, weekend: bool, spot: bool
) -> None:
    """No ratio, fair value, return, condition or any other sample, whatever its price and age are."""
    now, before = (SATURDAY, at_the_weekend()) if weekend else (START, weighed())
    golds = {"gold_proxy"} if spot else {"gold", "gold_proxy"}
    bare = {name: of for name, of in told(MARKET, now).items() if SOURCES[name].kind not in golds}
    more = {name: proxy(price, now - age) for name, price in prices.items()}
    without, beside = (again(of, now, before) for of in (bare, bare | more))
    for field in Macro.__struct_fields__:
        if field != "proxies":
            one, other = getattr(without, field), getattr(beside, field)
            assert one.equals(other) if isinstance(one, pl.DataFrame) else one == other, field
    views, and_with = priced(without), priced(beside)
    assert views.keys() == and_with.keys()
    for name, view in views.items():
        assert name == "gold_proxy" or view.equals(and_with[name]), name
    assert (without.value is not None) == spot
    assert and_with["gold_proxy"].height == (len(prices) if weekend and age <= HOUR else 0)


def test_no_rule_and_no_other_module_reads_what_stands_for_gold() -> None:
    root = Path(__file__).parents[1]
    readers = {
        str(file.relative_to(root / "monitor"))
        for file in (root / "monitor").rglob("*.py")
        if "proxy_usd_oz" in file.read_text()
    }
    assert readers == {"weigh.py", "sources/gold_proxy.py", "simulated/macro.py"}
    for rules in (root / "grafana" / "rules").glob("*.yml"):
        assert "leverage_gold_proxy" not in rules.read_text()


def test_the_page_shows_it_at_the_weekend_as_a_proxy() -> None:
    market = Small()
    market.run(60)
    health = Health([])
    market.core.macro = msgspec.structs.replace(weighed(), at=market.now)
    assert "proxy" not in page(health, [], market.run(20), market.now)
    market.core.macro = msgspec.structs.replace(at_the_weekend(), at=market.now)
    samples = market.run(20)
    one, other = (f"${price:,.2f}" for price in at_the_weekend().proxies["value"])
    html = page(health, [], samples, market.now)
    assert "Gold (proxy, weekend)" in html
    assert f"{one}, XAUUSDT of binance_xau" in html
    assert "nothing here is computed from it" in html
    health.source("binance_xau", HOUR)
    health.source_good("binance_xau", market.now - 3 * MINUTE)
    assert f"{one}, XAUUSDT of binance_xau, 3 min old" in page(health, [], samples, market.now)
    health.source_good("binance_xau", market.now - 2 * HOUR)
    assert f"{other}, XAUT-USDT-SWAP of okx_xaut" in page(health, [], samples, market.now)


def test_the_same_inputs_give_the_same_result_and_ratios_are_kept_while_prices_are() -> None:
    first = weighed()
    fresh = weigh(told(MARKET, START), days(), gold_table(), START)
    assert [one.ratio for one in fresh.ratios] == [one.ratio for one in first.ratios]
    assert all(a.draws.equals(b.draws) for a, b in zip(first.ratios, fresh.ratios, strict=True))
    assert again(told(MARKET, START)).ratios == first.ratios


def test_a_tick_gives_what_fair_value_gives_at_that_price() -> None:
    macro = weighed()
    ratio = macro.ratio
    assert ratio is not None
    assert macro.investment is not None
    for spot in (20_000.0, 110_000.0, 400_000.0):
        whole = fair_value(macro.investment, ratio.draws, macro.supplies["BTC"].value, spot)
        market = priced(macro, spot)["market"].row(0, named=True)
        assert market["gap_usd"] == pytest.approx(whole.gap_usd, rel=1e-12)
        assert market["gap_ratio"] == pytest.approx(whole.gap_ratio, rel=1e-12)
        assert market["break_even_ratio"] == pytest.approx(whole.break_even_ratio, rel=1e-12)
        assert bool(market["gap_certain"]) == whole.gap_certain


def test_without_a_price_there_is_a_fair_value_and_no_gap() -> None:
    found = priced(weighed(), None)
    assert found["market"]["gap_usd"][0] is None
    assert found["market"]["gold_price_usd"][0] > 0
    assert cell(found["bound"], "value", bound="mid") is not None
    assert cell(found["kind_macro"], "value", kind="fair_value_above_price") is None


def test_without_slow_sources_only_what_ticks_tell_is_there() -> None:
    found = priced(None)
    assert list(found) == ["asset_macro"]
    row = found["asset_macro"].row(0, named=True)
    assert row["implied"] == 0.5
    assert row["variance_premium"] == pytest.approx(0.5**2 - 0.4**2)
    assert row["cme_coins"] is None


def test_gold_has_an_implied_volatility_and_a_premium_of_its_own() -> None:
    found = priced(weighed())
    implied = cell(found["asset_macro"], "implied", asset="GOLD")
    moved = cell(
        found["asset_window_estimator"], "value", asset="GOLD", window="30d", estimator="close_to_close"
    )
    assert implied is not None
    assert moved is not None
    premium = cell(found["asset_macro"], "variance_premium", asset="GOLD")
    assert premium == pytest.approx(implied**2 - moved**2)
    assert found["asset_window_estimator"].filter(
        (pl.col("asset") == "GOLD") & pl.col("estimator").is_in(["parkinson", "yang_zhang"])
    ).is_empty()  # fmt: skip


# Old sources.

DEPENDS = {
    "lbma_pm": {("ratio", "aligned"), ("ratio", "own"), ("bound", "value"), ("market", "gap_usd")},
    "cftc": {("asset_macro", "cme_coins"), ("asset_macro", "cme_proxy_ratio"),
             ("asset_macro", "cme_long_ratio"), ("asset_macro", "cme_proxy_coins")},
    "gvz": set(),
}  # fmt: skip


@pytest.mark.parametrize("name", DEPENDS)
def test_what_a_source_tells_is_absent_once_it_is_older_than_it_may_be(name: str) -> None:
    sources = dict(told(MARKET, START))
    old = START - SOURCES[name].max_age - 1
    sources[name] = msgspec.structs.replace(sources[name], as_of=old)
    found = priced(again(sources))
    for view, column in DEPENDS[name]:
        assert found[view][column].count() == 0, (view, column)
    if name == "gvz":
        assert cell(found["asset_macro"], "implied", asset="GOLD") is None
    if name == "cftc":
        assert cell(found["kind_macro"], "value", kind="perps_and_cme_disagree") is None
    sources[name] = msgspec.structs.replace(sources[name], as_of=old + 1)
    found = priced(again(sources))
    assert all(found[view][column].count() for view, column in DEPENDS[name])


def test_all_old_is_all_absent_but_what_ticks_tell() -> None:
    later = START + 500 * DAY
    found = priced(again(told(MARKET, START), later))
    for metric in MACRO:
        values = found[metric.view].select(metric.value.alias("x"))["x"]
        assert values.count() == 0, metric.name
    assert cell(found["asset_macro"], "implied", asset="BTC") == 0.5


def test_gold_that_was_not_priced_for_four_days_is_stale_even_where_its_source_may_be_older() -> None:
    sources = dict(told(MARKET, START))
    for name in ("gold_api", "lbma_pm"):
        frame = sources[name].frame.filter(pl.col("time").dt.timestamp("ms") < START - 5 * DAY - HOUR)
        sources[name] = Told(frame, START - 5 * DAY)
    macro = again({name: of for name, of in sources.items() if of.frame.height})
    assert macro.ounce is None
    assert macro.ratios == ()
    assert macro.value is None


def test_a_weekend_has_fridays_price_and_no_return() -> None:
    sunday = START + 4 * DAY
    of = told(MARKET, sunday)
    assert datetime.fromtimestamp(sunday / 1000, UTC).weekday() == 6
    daily = weighing.gold_daily(of, sunday)
    assert daily["date"].dt.weekday().max() == 5
    assert weighing.ounce_usd(of, sunday) is not None
    assert daily["date"].is_unique().all()


def test_several_golds_are_never_mixed() -> None:
    sources = dict(told(MARKET, START))
    own = sources["lbma_pm"].frame.with_columns(pl.col("price_usd_oz") * 2)
    sources["gold_own"] = Told(own, sources["lbma_pm"].as_of)
    daily = weighing.gold_daily(sources, START)
    assert daily["close"].to_list() == own["price_usd_oz"].to_list()


def test_one_height_alone_is_not_believed() -> None:
    sources = {name: of for name, of in told(MARKET, START).items() if name != "blockstream"}
    macro = again(sources)
    assert "BTC" not in macro.supplies
    assert macro.value is not None, "the estimate stands in for it"


def test_an_old_table_of_tonnes_is_not_used() -> None:
    frame = pl.DataFrame(
        {"date": [date(2025, 12, 31)], "kind": ["stock"], "tonnes": [60_000.0], "begin": [None],
         "published": [date(2026, 1, 31)], "source": ["mine"]},
        schema_overrides={"begin": pl.Date},
    )  # fmt: skip
    sources = dict(told(MARKET, START)) | {"gold_tonnes": Told(frame, START - DAY)}
    macro = again(sources)
    assert macro.tonnes is not None
    assert macro.tonnes.tonnes == 60_000
    sources["gold_tonnes"] = Told(frame, START - 401 * DAY)
    assert again(sources).tonnes is None


# CME.


def cftc(rows: list[tuple[date, str, float, float]]) -> Told:
    """Reports: day, code, open interest, spreads."""
    frame = pl.DataFrame(
        [(day, code, oi, spread, 0.0, 0.0, 0.0) for day, code, oi, spread in rows],
        schema={"report_date": pl.Date, "code": pl.String, "open_interest": pl.Float64,
                "dealer_spread": pl.Float64, "asset_mgr_spread": pl.Float64,
                "lev_money_spread": pl.Float64, "other_spread": pl.Float64},
        orient="row",
    )  # fmt: skip
    newest = max(day for day, *_ in rows)
    return Told(frame, int(datetime(newest.year, newest.month, newest.day, tzinfo=UTC).timestamp() * 1000))


WEEKS = [date(2025, 9, 30) + timedelta(days=7 * n) for n in range(6)]
BTC_OI = [26874, 29001, 28503, 28477, 28717, 27093]
BTC_OUT = [None, 26232, 26416, 25993, 25484, 24995]
BTC_PX = [114048.93, 121332.95, 113028.14, 108297.67, 112898.45, 101497.22]
ETH_OI = [43169, 43251, 45830, 48616, 53183, 43229]
ETH_OUT = [None, 37632, 39456, 38472, 36747, 34865]
ETH_PX = [4145.15, 4447.70, 4125.02, 3873.05, 3979.20, 3287.05]
"""Methodology §4."""


def november() -> tuple[Told, pl.DataFrame]:
    """The reports of §4, spreads known from 7 October on, and closes of their days."""
    rows = []
    for code, interest, outright in (("133741", BTC_OI, BTC_OUT), ("146021", ETH_OI, ETH_OUT)):
        for day, held, out in zip(WEEKS, interest, outright, strict=True):
            if out is not None:
                rows.append((day, code, float(held), float(held - out)))
    closes = pl.DataFrame({"asset": ["BTC"] * 6 + ["ETH"] * 6, "date": WEEKS * 2, "close": BTC_PX + ETH_PX})
    return cftc(rows), closes


def at(day: date, hour: int = 21, minute: int = 0) -> int:
    return int(datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC).timestamp() * 1000)


def cme(now: int, growth: pl.DataFrame | None = None) -> Macro:
    report, closes = november()
    none = pl.DataFrame(schema={"asset": pl.String, "date": pl.Date, "growth": pl.Float64})
    return weigh({"cftc": report}, Days(closes, none if growth is None else growth), gold_table(), now)


def test_cme_reproduces_the_four_weeks_of_the_article() -> None:
    found = priced(cme(at(date(2025, 11, 7))))["asset_macro"]
    assert cell(found, "cme_proxy_ratio", asset="BTC") == pytest.approx(-0.0224, abs=5e-5)
    assert cell(found, "cme_proxy_ratio", asset="ETH") == pytest.approx(-0.0788, abs=5e-5)
    assert cell(found, "cme_coins", asset="BTC") == 27093 * 5
    assert cell(found, "cme_proxy_coins", asset="ETH") == pytest.approx(-2965 * 50)


def test_a_report_is_used_from_its_release_on() -> None:
    before = priced(cme(at(date(2025, 11, 7), 20, 29)))["asset_macro"]
    assert cell(before, "cme_coins", asset="BTC") == 28717 * 5
    after = priced(cme(at(date(2025, 11, 7), 20, 30)))["asset_macro"]
    assert cell(after, "cme_coins", asset="BTC") == 27093 * 5


def test_a_price_that_is_missing_makes_the_position_unknown() -> None:
    report, closes = november()
    holed = closes.filter((pl.col("asset") != "BTC") | (pl.col("date") != WEEKS[3]))
    days = Days(holed, pl.DataFrame(schema={"asset": pl.String, "date": pl.Date, "growth": pl.Float64}))
    found = priced(weigh({"cftc": report}, days, gold_table(), at(date(2025, 11, 7))))["asset_macro"]
    assert cell(found, "cme_proxy_coins", asset="BTC") is None
    assert cell(found, "cme_proxy_ratio", asset="BTC") is None
    assert cell(found, "cme_proxy_ratio", asset="ETH") is not None
    assert cell(found, "cme_coins", asset="BTC") is not None


def growth_of(btc: float, eth: float, unknown: int = 0) -> pl.DataFrame:
    """Log growth of each of the 28 days, the first of them unknown."""
    span = [WEEKS[1] + timedelta(days=n) for n in range(1, 29)]
    return pl.DataFrame(
        [
            (asset, day, None if n < unknown else math.log1p(change) / (28 - unknown))
            for asset, change in (("BTC", btc), ("ETH", eth))
            for n, day in enumerate(span)
        ],
        schema={"asset": pl.String, "date": pl.Date, "growth": pl.Float64}, orient="row",
    )  # fmt: skip


def test_perps_are_held_against_cme_over_the_same_days() -> None:
    now = at(date(2025, 11, 7))
    kind = "perps_and_cme_disagree"
    # At CME ether fell more, by 5.6 % of open interest.
    assert cme(now, growth_of(-0.17, -0.21)).conditions[kind] is False
    assert cme(now, growth_of(-0.21, -0.17)).conditions[kind] is True
    assert kind not in cme(now, growth_of(-0.21, -0.17, unknown=7)).known
    assert kind in cme(now, growth_of(-0.21, -0.17, unknown=3)).known
    assert kind not in cme(now).known


def test_disagreement_has_a_dead_band_and_hysteresis() -> None:
    assert not disagree(0.05, -0.015, held=False)
    assert disagree(0.05, -0.02, held=False)
    assert disagree(0.05, -0.015, held=True)
    assert not disagree(0.05, -0.009, held=True)
    assert not disagree(0.05, 0.05, held=True)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_disagreement_is_symmetric_and_what_begins_holds(a: float, b: float) -> None:
    assert disagree(a, b, held=False) == disagree(b, a, held=False) == disagree(-a, -b, held=False)
    assert disagree(a, b, held=True) or not disagree(a, b, held=False)


# ETF.


def flows(values: list[float | None], first: date) -> pl.DataFrame:
    span = (first + timedelta(days=n) for n in range(400))
    dates = [day for day, _ in zip((d for d in span if d.weekday() < 5), values, strict=False)]
    return pl.DataFrame(
        {"date": dates, "asset": "BTC", "fund": "TOTAL", "flow_usd": values},
        schema_overrides={"flow_usd": pl.Float64},
    )  # fmt: skip


def test_windows_of_redemptions_are_those_of_the_study() -> None:
    """The peak of 9 October, a Thursday: the two weeks to 10 October (methodology §5)."""
    first = date(2025, 9, 15)
    values: list[float | None] = [*[1.0] * 19, *[-1.0] * 19]
    of = flows(values, first).with_columns(cumulative_usd=pl.col("flow_usd").cum_sum())
    window, inflow = redemption_windows(of) or (None, None)
    assert window == (date(2025, 10, 29), date(2025, 11, 5))
    assert inflow == (date(2025, 9, 29), date(2025, 10, 10))


def test_a_day_that_was_not_reported_makes_redemptions_unknown() -> None:
    values: list[float | None] = [*[1e8] * 30, *[-1e8] * 6]
    now = at(date(2025, 11, 6))
    first = date(2025, 9, 17)
    whole = Told(flows(values, first), now)
    days = Days(*(pl.DataFrame(schema={"asset": pl.String, "date": pl.Date, n: pl.Float64})
                  for n in ("close", "growth")))  # fmt: skip
    found = priced(weigh({"etf_btc": whole}, days, gold_table(), now))["asset_macro"]
    assert cell(found, "etf_redemption_ratio", asset="BTC") == pytest.approx(6 / 7)
    assert cell(found, "etf_redemption_to_assets_ratio", asset="BTC") is None
    values[-3] = None
    holed = Told(flows(values, first), now)
    found = priced(weigh({"etf_btc": holed}, days, gold_table(), now))["asset_macro"]
    assert cell(found, "etf_redemption_ratio", asset="BTC") is None
    assert cell(found, "etf_flow_usd", asset="BTC") == -1e8


# Conditions.


def test_the_ratio_has_a_band_between_its_beginning_and_its_end() -> None:
    kind = "volatility_ratio_below_2"
    ratio = weighed().ratio
    assert ratio is not None
    for value, held, says in ((1.99, False, True), (2.0, False, False), (2.05, True, True),
                              (2.05, False, False), (2.11, True, False)):  # fmt: skip
        before = msgspec.structs.replace(
            weighed(), ratios=(msgspec.structs.replace(ratio, ratio=value),), conditions={kind: held}
        )
        assert again(told(MARKET, START), previous=before).conditions[kind] is says, (value, held)


def test_the_gap_turns_over_only_when_it_is_larger_than_its_error() -> None:
    macro = weighed()
    assert macro.value is not None
    fair = macro.value.mid_usd
    above: bool | None = None
    said = []
    for spot in (fair * 1.01, fair * 0.3, fair * 1.01, fair * 3, fair * 0.99, fair * 0.3):
        found, above = frames(macro, asset_view(spot), LOOKED, above=above)
        said.append(cell(found["kind_macro"], "value", kind="fair_value_above_price"))
    assert said == [None, 1, 1, 0, 0, 1]


def test_a_core_drops_what_was_weighed_too_long_ago() -> None:
    market = Small()
    market.run(60)
    market.core.macro = msgspec.structs.replace(weighed(), at=market.now - weighing.LIFE + 120_000)
    names = {family.metric.name for family in market.run(20).families}
    assert "leverage_fair_value_usd" in names
    samples = market.run(120)
    assert "leverage_fair_value_usd" not in {family.metric.name for family in samples.families}
    assert "leverage_implied_volatility_ratio" in {family.metric.name for family in samples.families}


# Realised volatility from bars.


def bars(count: int, step: int, start: int, *, venue: str = "a", wild: float = 0.001) -> pl.DataFrame:
    """Bars of one instrument on a jagged path."""
    rows = []
    price = PRICE
    for n in range(count):
        change = wild * (1 if n % 3 else -1.7) * (1 + n % 5)
        close = price * math.exp(change)
        rows.append((start + n * step, venue, "BTC", "X", "linear", price, max(price, close) * (1 + wild),
                     min(price, close) * (1 - wild), close, None, None, None, None, None, None))  # fmt: skip
        price = close
    return pl.DataFrame(rows, schema=BAR, orient="row")


T0 = START // DAY * DAY


def test_windows_of_minutes_are_the_batch_over_the_same_bars() -> None:
    minutes = bars(26 * 60, MINUTE, T0)
    state = Realized(minutes.clear(), minutes.clear(), pl.DataFrame(schema=REFERENCE))
    for (time,), rows in minutes.group_by("time", maintain_order=True):
        assert isinstance(time, int)
        state.minute(rows, time)
    end = T0 + 26 * HOUR
    values, jumps = state.shown(end)
    whole = volatilities(reference(minutes), {"1h": HOUR}, 365 * 24 * 60, end - MINUTE)
    for estimator in ("close_to_close", "parkinson", "yang_zhang", "garman_klass", "bipower", "ewma"):
        expected = cell(whole, "volatility", window="1h", estimator=estimator)
        assert cell(values, "value", window="1h", estimator=estimator) == pytest.approx(expected, rel=1e-9)
    assert cell(values, "value", window="24h", estimator="yang_zhang") is not None
    assert cell(values, "value", window="1h", estimator="realized_variance") is None, "of the ticks"
    assert cell(jumps, "jump_share", window="24h") is not None
    assert state.shown(end + 2 * HOUR)[0].is_empty()


def test_one_wick_of_one_venue_is_not_volatility_of_the_asset() -> None:
    calm = pl.concat([bars(60, MINUTE, T0, venue=venue) for venue in "abc"])
    wick = calm.with_columns(
        high=pl.when((pl.col("venue") == "a") & (pl.col("time") == T0 + 5 * MINUTE)).then(PRICE * 3)
        .otherwise("high")
    )  # fmt: skip
    assert reference(calm).equals(reference(wick))


def test_a_window_with_holes_has_no_value() -> None:
    some = reference(bars(40, MINUTE, T0 + 20 * MINUTE))
    assert realized(some, MINUTE, T0 + 59 * MINUTE)[0].is_empty()
    most = reference(bars(50, MINUTE, T0 + 10 * MINUTE))
    assert realized(most, MINUTE, T0 + 59 * MINUTE)[0].height > 0
    assert realized(most, MINUTE, T0 + 80 * MINUTE)[0].is_empty(), "the window has moved on"


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 12))
def test_a_restart_changes_nothing(back: int) -> None:
    minutes = bars(25 * 60, MINUTE, T0)
    empty = minutes.clear()
    seen = minutes.partition_by("time", maintain_order=True)
    states = [Realized(empty, empty, reference(minutes.head(len(seen) - first))) for first in (20, back)]
    for state, first in zip(states, (20, back), strict=True):
        for rows in seen[-first:]:
            state.minute(rows, int(rows["time"][0]))
    whole, restarted = (
        state.shown(T0 + 25 * HOUR)[0].sort("asset", "window", "estimator") for state in states
    )
    hour, other = (of.filter(pl.col("window") == "1h") for of in (whole, restarted))
    assert hour.equals(other)
    if back >= 5:  # five minutes must have closed since
        assert whole.equals(restarted)


def test_following_another_keeps_what_it_saw() -> None:
    minutes = bars(90, MINUTE, T0)
    empty = minutes.clear()
    old = Realized(empty, empty, pl.DataFrame(schema=REFERENCE))
    for rows in minutes.head(89).partition_by("time", maintain_order=True):
        old.minute(rows, int(rows["time"][0]))
    new = Realized(empty, empty, pl.DataFrame(schema=REFERENCE))
    new.follow(old)
    for state in (old, new):
        state.minute(minutes.tail(1), int(minutes["time"][-1]))
    key = ["window", "estimator"]
    hour = pl.col("window") == "1h"
    shown = [state.shown(T0 + 90 * MINUTE)[0].filter(hour).sort(key) for state in (old, new)]
    assert shown[0].equals(shown[1])
    assert shown[0].height > 0


# The machinery.


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_text_has_the_market_s_own_samples() -> None:
    market = Small()
    market.run(60)
    market.core.macro = msgspec.structs.replace(weighed(), at=market.now)
    found = parsed(Writer().text(market.run(20)).decode())
    assert found["leverage_gold_price_usd", frozenset()] > 0
    assert found["leverage_fair_value_gap_usd", frozenset()] != 0
    assert found["leverage_supply_coins", frozenset({("asset", "BTC")})] == pytest.approx(
        weighed().supplies["BTC"].value
    )
    window = frozenset({("window", "126d"), ("gold", "spot"), ("bound", "mid")})
    assert found["leverage_bitcoin_gold_volatility_ratio", window] > 0
    assert found["leverage_bitcoin_gold_own_clock_volatility_ratio", window] > 0


async def samples_with(monitor: object, name: str, seconds: float = 40) -> Samples:
    board = monitor.board  # type: ignore[attr-defined]

    def there() -> bool:
        samples = board.samples
        return samples is not None and any(
            family.metric.name == name and family.values.count() for family in samples.families
        )

    await until(there, seconds)
    found = board.samples
    assert isinstance(found, Samples)
    return found


async def test_the_demo_exports_every_metric_of_slow_sources(tmp_path: Path) -> None:
    clock = Clock(START, 60)
    market = Market(SCENARIOS["purge"], seed=1, start=START)
    config = Config(listen="127.0.0.1:0", state_dir=tmp_path / "state")
    await asyncio.to_thread(plant, config.state_dir, market)
    async with simulate(VENUES, market, clock) as exchanges:
        async with running(
            against(config, exchanges), clock, told=lambda: told(market, clock.now())
        ) as monitor:
            await samples_with(monitor, "leverage_fair_value_gap_usd")
            await samples_with(monitor, "leverage_variance_premium_ratio")
            weekly = frozenset({("asset", "BTC"), ("window", "7d"), ("estimator", "yang_zhang")})
            text = ""
            async with aiohttp.ClientSession() as session, asyncio.timeout(60):
                while ("leverage_realized_volatility_ratio", weekly) not in parsed(text):
                    async with session.get(f"http://{monitor.address}/metrics") as answer:
                        text = await answer.text()
                    await asyncio.sleep(0.2)
    names = {name for name, _ in parsed(text)}
    # Spot gold is traded on this Wednesday.
    assert {metric.name for metric in MACRO} - names == {"leverage_gold_proxy_price_usd"}
    gold = frozenset({("asset", "GOLD"), ("window", "90d"), ("estimator", "close_to_close")})
    assert parsed(text)["leverage_realized_volatility_ratio", gold] > 0
    assert parsed(text)["leverage_realized_volatility_ratio", weekly] > 0


def only(**sources: SourceConfig) -> dict[str, SourceConfig]:
    """These sources and no others: nobody in the world is asked."""
    return {n: SourceConfig(enabled=False) for n, of in SOURCES.items() if of.default} | sources


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.feeds.slow.SPREAD_S", 0.0)
    monkeypatch.setattr("monitor.feeds.slow.FILE_EVERY_S", 0.1)
    monkeypatch.setattr("monitor.app.WEIGH_EVERY_S", 0.1)


def gvz_table(value: float) -> str:
    rows = [f"{date(2026, 9, day):%m/%d/%Y},{value}" for day in (25, 28, 29)]
    return "\n".join(["DATE,GVZ", *rows]) + "\n"


@pytest.mark.usefixtures("hurried")
async def test_a_source_reaches_the_text_and_rubbish_changes_nothing(tmp_path: Path) -> None:
    clock = Clock(START, 60)
    table = tmp_path / "gvz.csv"
    table.write_text(gvz_table(21.0))
    heights: list[str] = ["969300", "969301"]

    async def respond(request: web.Request) -> web.Response:
        return web.Response(text=heights[int(request.path[-1])])

    async with (
        rest_server(respond) as url,
        simulate(VENUES, MARKET, clock) as exchanges,
    ):
        config = Config(
            listen="127.0.0.1:0", state_dir=tmp_path / "state", tick_seconds=0.2,
            sources=only(
                gvz=SourceConfig(file=table), mempool=SourceConfig(url=f"{url}/0"),
                blockstream=SourceConfig(url=f"{url}/1"),
            ),
        )  # fmt: skip
        async with running(against(config, exchanges), clock, slow=True) as monitor:
            await until(lambda: {"gvz", "mempool", "blockstream"} <= monitor.health.source_as_of.keys(), 20)
            await until(
                lambda: monitor.core.macro is not None
                and "BTC" in monitor.core.macro.supplies
                and cell(monitor.core.macro.assets, "implied", asset="GOLD") is not None,
                20,
            )  # fmt: skip
            await asyncio.sleep(0.5)
            samples = await samples_with(monitor, "leverage_supply_coins")
            found = parsed(Writer().text(samples).decode())
            asset = frozenset({("asset", "GOLD")})
            assert found["leverage_implied_volatility_ratio", asset] == pytest.approx(0.21)
            supplied = found["leverage_supply_coins", frozenset({("asset", "BTC")})]
            assert supplied == 19_687_500 + (969_302 - 840_000) * 3.125
            table.write_text("<html>forbidden</html>")
            await until(lambda: monitor.health.source_problems["gvz", "rubbish"], 20)
            await asyncio.sleep(0.5)
            newest = monitor.board.samples
            assert newest is not None
            found = parsed(Writer().text(newest).decode())
            assert found["leverage_implied_volatility_ratio", asset] == pytest.approx(0.21)
            table.write_text(gvz_table(22.0))
            await until(
                lambda: monitor.core.macro is not None
                and cell(monitor.core.macro.assets, "implied", asset="GOLD") == pytest.approx(0.22),
                20,
            )  # fmt: skip


@pytest.mark.usefixtures("hurried")
async def test_conditions_outlive_a_restart() -> None:
    clock = Clock(START, 60)
    config = Config(listen="127.0.0.1:0", tick_seconds=0.2)
    async with running(against_nobody(config), clock, told=dict) as monitor:
        await until(lambda: monitor.core.macro is not None)
        assert monitor.core.above is None
        assert not (config.state_dir / CONDITIONS).exists()
        await until(lambda: certain(monitor.core) and (config.state_dir / CONDITIONS).exists(), 30)
    async with running(against_nobody(config), clock, told=dict) as monitor:
        await until(lambda: monitor.core.macro is not None)
        assert monitor.core.above is True
        assert monitor.core.macro is not None
        assert monitor.core.macro.conditions["fair_value_above_price"] is True
        assert not monitor.core.macro.known
    (config.state_dir / CONDITIONS).write_text('{"fair_value_above_price": 7')
    async with running(against_nobody(config), clock, told=dict) as monitor:
        await until(lambda: monitor.core.macro is not None)
        assert monitor.core.above is None


def certain(core: Core) -> bool:
    """As a tick does whose gap is larger than its error."""
    core.above = True
    return True


def against_nobody(config: Config) -> Config:
    """Venues at a closed port of loopback."""
    off = {"ws_url": "ws://127.0.0.1:9", "rest_url": "http://127.0.0.1:9"}
    return config.model_copy(
        update={"venues": {name: config.venue(name).model_copy(update=off) for name in VENUES}}
    )


@pytest.mark.usefixtures("hurried")
async def test_a_source_that_cannot_be_weighed_is_absent_and_ends_nothing(tmp_path: Path) -> None:
    config = Config(listen="127.0.0.1:0", state_dir=tmp_path, tick_seconds=0.2)
    broken = {"gvz": Told(pl.DataFrame({"date": ["?"]}), START)}
    answers: list[Mapping[str, Told]] = [broken]
    async with running(against_nobody(config), Clock(START), told=lambda: answers[-1]) as monitor:
        await until(lambda: monitor.health.errors["monitor", "compute"])
        assert monitor.core.macro is None
        answers.append({})
        await until(lambda: monitor.core.macro is not None)


@pytest.mark.usefixtures("hurried")
async def test_fair_value_takes_what_a_monitor_left(tmp_path: Path) -> None:
    prices = weighing.gold_daily(told(MARKET, START), START)
    table = tmp_path / "gold.csv"
    lines = [f"{day},{price}" for day, price in prices.iter_rows()]
    table.write_text("\n".join(["date,price_usd_oz", *lines]) + "\n")
    config = Config(state_dir=tmp_path / "state", sources=only(gold_own=SourceConfig(file=table)))
    nothing, _ = stored(config, START)
    assert nothing.ratio is nothing.spot is nothing.ounce_usd is None
    await asyncio.to_thread(plant, config.state_dir, MARKET)
    slow = Slow(chosen(config), config.state_dir / "sources", Health([]), Clock(START))
    task = asyncio.create_task(slow.run())
    await until(lambda: stored(config, START)[0].ounce_usd is not None, 30)
    task.cancel()
    known, tonnes = stored(config, START)
    expected = weighed().ratio
    assert expected is not None
    assert known.ratio is not None
    assert known.ratio.value == pytest.approx(expected.ratio, rel=0.02)
    assert known.spot is not None
    value = complete(Given(), known, tonnes, date(2026, 9, 30)).fair_value()
    assert value.low_usd is not None
    assert value.gap_usd is not None
