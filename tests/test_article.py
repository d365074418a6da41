"""The article of November 2025, claim by claim (methodology §0.1), on what the history holds of it.

Prices, gold and ETF flows of 2025-10-01…2025-11-06 are read from the history. CME's reports and all open
interest are figures that the methodology prints: the history has no open interest of 2025. Each test says so.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path

import msgspec
import polars as pl
import pytest
from test_board import state
from test_weigh import LOOKED, growth_of, november as cme_reports

from monitor.app import gold_table
from monitor.board import Key, Row, board, key
from monitor.deleveraging.past import _completeness
from monitor.deleveraging.phases import State, Thresholds, verdict
from monitor.metrics.macro import MACRO
from monitor.metrics.metric import LABELS
from monitor.weigh import Days, Macro, Told, frames, weigh

HISTORY = Path(__file__).parents[1].parent / "shared" / "history"

# The figures of open interest, methodology §3.2 (CoinGlass, all venues): 9 October, 5 November, the mean of
# May to November, as shares of market capitalisation; §3.3: its price-neutral change on 10 October.
LEVELS = {"BTC": (0.0372, 0.0335, 0.0349), "ETH": (0.112, 0.096, 0.1099)}
PURGED = {"BTC": -0.170891, "ETH": -0.205063}
# §7.3, the same series: when the last purge was, and when the phase was entered.
PHASES = {"BTC": ("reset", date(2025, 10, 10), date(2025, 10, 17)),
          "ETH": ("purge", date(2025, 11, 4), date(2025, 11, 4))}  # fmt: skip
ASSETS_USD = 155.0e9
"""Of the bitcoin funds before 10 October, §5: the flow tables hold none."""
NOW = datetime(2025, 11, 7, 21, tzinfo=UTC)
"""The report of 4 November is out; §4 compares its four weeks."""


def prices(asset: str) -> pl.DataFrame:
    table = pl.read_parquet(HISTORY / "ohlcv_binance_spot_daily.parquet")
    mine = table.filter(pl.col("asset") == asset, pl.col("date") < NOW.date())
    return mine.select("asset", "date", "close")


def gold() -> Told:
    """Spot gold; a day of the table ends at 17:00 in New York."""
    day = pl.col("date").cast(pl.Datetime("ms")).dt.offset_by("16h59m")
    rows = pl.read_parquet(HISTORY / "gold_xauusd_daily.parquet").select(
        time=day.dt.replace_time_zone("America/New_York").dt.convert_time_zone("UTC"),
        price_usd_oz="close", source=pl.lit("XAUUSD"),
    ).filter(pl.col("time") < NOW)  # fmt: skip
    return Told(rows, int(rows["time"][-1].timestamp() * 1000))


def funds(asset: str) -> Told:
    rows = pl.read_parquet(HISTORY / "etf_flows_coinglass_daily.parquet").filter(
        pl.col("asset") == asset, pl.col("date") <= date(2025, 11, 5)
    ).sort("date")  # fmt: skip
    return Told(rows, int(datetime(2025, 11, 5, tzinfo=UTC).timestamp() * 1000))


def assets() -> Told:
    """Of bitcoin's funds when the redemptions began; of ether's none are printed."""
    day = date(2025, 10, 28)
    rows = pl.DataFrame({"date": [day], "asset": ["BTC"], "assets_usd": [ASSETS_USD]})
    return Told(rows, int(datetime(2025, 11, 5, tzinfo=UTC).timestamp() * 1000))


@lru_cache(maxsize=1)
def macro() -> Macro:
    """All that slow sources and closes say; perpetuals as §3.2 prints their fall to 5 November."""
    report, _ = cme_reports()
    told = {"gold_own": gold(), "cftc": report, "etf_btc": funds("BTC"), "etf_eth": funds("ETH")}
    told["etf_assets"] = assets()
    closes = pl.concat([prices("BTC"), prices("ETH")])
    fallen = {asset: now / before - 1 for asset, (before, now, _) in LEVELS.items()}
    days = Days(closes, growth_of(fallen["BTC"], fallen["ETH"]))
    return weigh(told, days, gold_table(), int(NOW.timestamp() * 1000))


def samples() -> dict[Key, float]:
    """The macro metrics as they are exported, with the price of 5 November."""
    spot = prices("BTC").filter(pl.col("date") == date(2025, 11, 4))["close"][0]
    view = pl.DataFrame(
        {"asset": ["BTC", "ETH"], "reference": [spot, None], "implied": [None, None]},
        schema={"asset": pl.String, "reference": pl.Float64, "implied": pl.Float64},
    )
    found, _ = frames(macro(), view, LOOKED)
    known: dict[Key, float] = {}
    for metric in MACRO:
        frame = found[metric.view]
        for row in frame.with_columns(__value=metric.value).iter_rows(named=True):
            if row["__value"] is not None:
                labels = {name: row[name] for name in LABELS[metric.view]}
                known[key(metric.name, **labels)] = float(row["__value"])
    return known


def perps() -> dict[Key, float]:
    """What the figures of open interest say, by the rules of the program."""
    known: dict[Key, float] = {}
    rule = Thresholds()
    today = (date(2025, 11, 5) - date(1970, 1, 1)).days
    for asset, (phase, purged, since) in PHASES.items():
        before, now, mean = LEVELS[asset]
        on, entered = ((day - date(1970, 1, 1)).days for day in (purged, since))
        of = msgspec.structs.replace(State(), phase=phase, since=entered, purged=on, seen=today)
        z = 0.0 if now <= mean else 1.0
        said = verdict(of, {"z": z, "day": today}, today, rule)
        done = _completeness(*(_log(level) for level in (before, now, mean)))
        assert done is not None
        known |= state(asset, phase, said, deleveraging_completeness_ratio=done)
        if asset == "BTC":  # true from 17 October, §0.1
            known[key("leverage_open_interest_to_market_cap_zscore", asset=asset)] = z
            start = datetime(2025, 10, 17, tzinfo=UTC).timestamp()
            known[key("leverage_phase_start_timestamp_seconds", asset=asset)] = start
    return known


def _log(level: float) -> float:
    return float(pl.Series([level]).log()[0])


def rows() -> dict[tuple[str, str], Row]:
    """The board, by the beginning of the claim and the asset."""
    known = samples() | perps()
    return {(row.claim.split(".")[0][:20], row.asset): row for row in board(known, NOW.timestamp())}


def of(claim: str, asset: str = "BTC") -> Row:
    return next(row for (text, name), row in rows().items() if text.startswith(claim) and name == asset)


if HISTORY.is_dir():

    def test_perpetual_open_interest_of_bitcoin_is_back_at_its_average() -> None:
        """From printed figures (§3.2, §7.3): reset since 17 October."""
        assert of("Perpetual").verdict == "true"

    def test_ether_less_pronounced_does_not_reproduce() -> None:
        """From printed figures: ether's share fell by 14 %, bitcoin's by 10 %; its purge was larger (§0.1).

        So it was more pronounced in this scope. The claim rests on an average that was not published.
        """
        fallen = {asset: now / before - 1 for asset, (before, now, _) in LEVELS.items()}
        assert fallen["BTC"] == pytest.approx(-0.10, abs=0.005)
        assert fallen["ETH"] == pytest.approx(-0.14, abs=0.005)
        assert PURGED["ETH"] < PURGED["BTC"]
        for asset in ("BTC", "ETH"):
            row = of("Ether followed", asset)
            assert row.verdict in ("false", "mixed")
            assert row.value == 1.5, "both fell by more than the way to their mean"

    def test_more_was_liquidated_in_ether_at_cme() -> None:
        """Reports as printed in §4, prices from the history."""
        ether, bitcoin = of("In CME", "ETH"), of("In CME", "BTC")
        assert ether.verdict == "true"
        assert bitcoin.value == pytest.approx(-0.0224, abs=1e-4)
        assert ether.value == pytest.approx(-0.0788, abs=1e-4)

    def test_cme_and_perpetuals_do_not_contradict_each_other_in_this_scope() -> None:
        """The article says that they do; ether fell more in both. Printed figures, §3.2 and §4."""
        assert macro().conditions["perps_and_cme_disagree"] is False
        assert "perps_and_cme_disagree" in macro().known

    def test_redemptions_of_the_bitcoin_funds_were_small() -> None:
        """Flows from the history, assets as printed in §5."""
        row = of("ETF")
        assert row.verdict == "true"
        assert row.value == pytest.approx(0.013, abs=0.0005)
        ratio = samples()[key("leverage_etf_redemption_ratio", asset="BTC")]
        assert ratio == pytest.approx(0.3438, abs=2e-4)

    def test_of_the_ether_funds_the_ratio_is_known_and_the_size_is_not() -> None:
        """Their assets are printed nowhere."""
        row = of("ETF", "ETH")
        assert row.verdict == "unknown"
        assert samples()[key("leverage_etf_redemption_ratio", asset="ETH")] == pytest.approx(0.4707, abs=2e-3)

    def test_deleveraging_was_behind_bitcoin_and_not_behind_ether() -> None:
        """§7.5 on the phases that §7.3 prints for 5 November."""
        assert of("Deleveraging", "BTC").verdict == "true"
        assert of("Deleveraging", "ETH").verdict == "false"

    def test_bitcoin_took_less_than_twice_the_risk_capital_of_gold() -> None:
        """Prices and gold from the history: 1.77 with spot gold on 4 November (§1.9)."""
        row = of("Bitcoin takes")
        assert row.verdict == "true"
        assert row.value == pytest.approx(1.77, abs=0.05)
        assert row.low is not None
        assert row.high is not None
        assert row.low < 1.8 < row.high
        assert macro().conditions["volatility_ratio_below_2"] is True

    def test_the_fair_value_was_above_the_price_by_more_than_its_error() -> None:
        """Prices and gold from the history, tonnes from the shipped table: within 12 % of 170,000 (§1.7)."""
        row = of("Held against gold")
        assert row.verdict == "true"
        assert row.value == pytest.approx(170_000, rel=0.12)
        gap = samples()[key("leverage_fair_value_gap_usd")]
        assert gap == pytest.approx(68_000, rel=0.3)

    def test_a_fall_of_bitcoin_alone_would_have_been_a_contradiction() -> None:
        report, _ = cme_reports()
        days = Days(pl.concat([prices("BTC"), prices("ETH")]), growth_of(-0.14, -0.10))
        found = weigh({"cftc": report}, days, gold_table(), int(NOW.timestamp() * 1000))
        assert found.conditions["perps_and_cme_disagree"] is True
