"""Every alert fires in a real Prometheus, and reaches a person, because of what a real monitor saw.

Two monitors, one Prometheus that reads both, one Alertmanager, a webhook. The first is `monitor run` in real
time, beside the files of an operator and a history that leads up to now: what it is told is all that is
planted. The second follows a fast market until its clock stands still.

The rules are the shipped ones with one change, so that minutes fit into a test: the `for` of these alerts is
a sixtieth of what it is. Expressions, windows and texts are as shipped; `tests/rules` holds them against the
shipped durations. So are Alertmanager's routes; its waits are short. What needs days of the market, or the
death of the monitor, fires in `test_alerts_end_to_end`, with durations as shipped.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
import test_alerts_end_to_end as end_to_end
import yaml
from receivers import ROOT, Receivers, hurried, receiving
from test_alerts_end_to_end import Program, Shared, free, get, level, on_path

from monitor import app
from monitor.__main__ import loop_run
from monitor.app import running
from monitor.bus import Queue
from monitor.clock import Clock
from monitor.config import Config
from monitor.demo import PLANTED, START, against
from monitor.events import Millis
from monitor.history.store import Store
from monitor.ladder import DAY
from monitor.macro.cme import FLAT, available_at
from monitor.macro.valuation import OUNCES_PER_TONNE, bitcoin_supply
from monitor.prometheus.backtest import seconds
from monitor.simulated import LISTINGS, SCENARIOS, Exchange, Leg, Market, Scenario, simulate
from monitor.simulated.market import START_PRICE
from monitor.simulated.past import past
from monitor.simulated.scenarios import ASSETS
from monitor.sources import SOURCES
from monitor.sources.cftc import CONTRACTS, SPREADS
from monitor.stack import prometheus
from monitor.venues import VENUES

pytestmark = pytest.mark.live

FIRES = frozenset({
    "LeverageStretched", "FundingExtreme", "LiquidationBurst", "VolatilityRatioCrossed",
    "FairValueGapSignChanged", "EtfRedemptionsMaterial", "PerpsAndCmeDisagree", "Watchdog",
    "MonitorNotComputing", "EventsDropped", "SourceStale", "VenueSilent", "VenueImplausible", "CoverageLow",
})  # fmt: skip
"""What the test below sees firing, each for the reason that it planted."""
AT_FIRST = frozenset({
    "LeverageStretched", "FundingExtreme", "LiquidationBurst", "EtfRedemptionsMaterial",
    "PerpsAndCmeDisagree", "Watchdog",
})  # fmt: skip
"""What was so before either monitor was started, or is soon. The rest happens while they run."""
OF_THE_SECOND = frozenset({"LiquidationBurst", "MonitorNotComputing", "EventsDropped"})
"""What the second monitor is for; the first stays whole."""

SHORTER = 60
"""Part of its `for` after which an alert fires here."""
SEED = 3
FAST = 360.0
"""Speed of the second market."""
HELD = 5_000
"""Events in the second monitor's queue. The shipped 400,000 would take an hour to come."""
ADULT_MS: Millis = 25_000
"""How long after the beginning a slow source grows too old."""
FIRST, STANDING = "leverage-monitor", "standing"
"""The monitors, as Prometheus names them."""


# What the first monitor is told.


def history(folder: Path, market: Market, sign: int) -> None:
    """A crowded market: open interest rose for a week until five days ago, funding is dear since nine.

    Ether's leverage has gone with `sign` for five weeks, beside bitcoin's.
    """
    days = (market.start - pl.col("time")) / DAY
    risen = ((12 - days) / 7).clip(0, 1)
    ether = pl.when(pl.col("asset") == "ETH").then((35 - days).clip(0, 35) / 35 - 1).otherwise(0)
    change = (0.14 * (risen - 1) + 0.12 * sign * ether).exp()
    with Store(folder / "history", writable=True) as store:
        for step in PLANTED:
            bars = past(market, step).with_columns(
                *(pl.col(name) * change for name in ("coins", "usd")),
                funding_8h=pl.col("funding_8h") + pl.when(days < 9).then(0.0005).otherwise(0),
            )
            store.backfill("simulated", step, bars)


def closes(market: Market) -> dict[date, float]:
    """Of bitcoin, by day (UTC); those of the venues differ by a constant."""
    of = past(market, "day").filter(pl.col("asset") == "BTC", pl.col("venue") == "bybit")
    of = of.unique("time").sort("time").with_columns(day=pl.from_epoch("time", "ms").dt.date())
    return dict(of.select("day", "close").iter_rows())


def weekdays(until: date, count: int) -> list[date]:
    """The last weekdays until one, that one included if it is one."""
    days = (until - timedelta(days=n) for n in range(2 * count + 7))
    return [day for day in days if day.weekday() < 5][count - 1 :: -1]


class Operator:
    """Who keeps the tables that the first monitor reads."""

    def __init__(self, folder: Path, market: Market) -> None:
        self.folder = folder
        folder.mkdir()
        self.now = datetime.fromtimestamp(market.start / 1000, UTC)
        self._bitcoin = closes(market)
        coins = bitcoin_supply(self.now.date())
        assert coins is not None
        tonnes, ratio = 50_000, 2.15
        # Fair value is a little under the price at first. Gold moves as bitcoin does: the ratio has no error.
        self._ounce = 0.97 * START_PRICE["BTC"] * ratio * coins.value / (tonnes * OUNCES_PER_TONNE)
        last = self.now.year - 1
        self.write(
            "gold_tonnes",
            f'version = "test"\n[[stock]]\nas_of = {last}-12-31\ntonnes = {tonnes}\n'
            f'published = {last + 1}-01-01\nsource = "planted"\n',
        )
        days = weekdays(max(self._bitcoin), 400)
        newest = self._bitcoin[days[-1]]
        self._gold = [(day, self._ounce * (self._bitcoin[day] / newest) ** (1 / ratio)) for day in days]
        self._tell_gold(self._gold[:-1], self._ounce)
        self._flows()
        self._reports()
        ages = self.now + timedelta(milliseconds=ADULT_MS - SOURCES["ultrasound"].max_age)
        self.stale_at = market.start + ADULT_MS
        self.write("ultrasound", json.dumps({"d1": [{"timestamp": ages.isoformat(), "supply": 120.7e6}]}))

    def write(self, source: str, text: str) -> None:
        """As an editor does: all at once."""
        draft = self.folder / f".{source}"
        draft.write_text(text)
        draft.replace(self.folder / source)

    def _tell_gold(self, rows: list[tuple[date, float]], ounce: float) -> None:
        self.write("gold_own", "date,price_usd_oz\n" + "".join(f"{day},{price:.4f}\n" for day, price in rows))
        at = f"{self.now:%Y-%m-%dT%H:%M:%SZ}"
        said = {"name": "Gold", "price": ounce, "symbol": "XAU", "updatedAt": at}
        self.write("gold_api", json.dumps(said))

    def gold_leaps(self) -> None:
        """Its newest day is as long as six usual ones, and today it gained a quarter."""
        *rows, (day, _) = self._gold
        moves = [math.log(new / old) for (_, old), (_, new) in pairwise(rows[-126:])]
        leap = math.exp(6 * statistics.stdev(moves))
        self._tell_gold([*rows, (day, rows[-1][1] * leap)], 1.24 * self._ounce)

    def _flows(self) -> None:
        """Five weeks of inflows, then six days in which more left than had come in two weeks."""
        days = weekdays(self.now.date() - timedelta(days=1), 31)
        flows = [*[100.0] * 25, *[-300.0] * 6]
        rows = zip(days, flows, strict=True)
        lines = (f"{day},{0.6 * flow:.1f},{0.4 * flow:.1f},{flow:.1f}\n" for day, flow in rows)
        self.write("etf_btc", "Date,SIMA,SIMB,Total\n" + "".join(lines))
        held = (f"{day},BTC,110000000000\n" for day in days)
        self.write("etf_assets", "date,asset,assets_usd\n" + "".join(held))

    def _reports(self) -> None:
        """Bitcoin's open interest at CME moved each week, by sizes of which no four add up to nothing."""
        tuesday = self.now.date() - timedelta(days=(self.now.weekday() - 1) % 7)
        days = [tuesday - timedelta(weeks=n) for n in range(9, -1, -1)]
        moved = dict(zip(days[1:], cycle((0.04, -0.08, 0.16, -0.32)), strict=False))
        level, rows = 1.0, []
        for day in days:
            level += moved.get(day, 0.0)
            for code, (asset, _) in CONTRACTS.items():
                held = round(30_000 * (level if asset == "BTC" else 1.0))
                rows.append(
                    {
                        "report_date_as_yyyy_mm_dd": f"{day}T00:00:00.000",
                        "cftc_contract_market_code": code,
                        "open_interest_all": f"{held}",
                        **dict.fromkeys(SPREADS.values(), "100"),
                    }
                )
        self.write("cftc", json.dumps(rows))
        out = [day for day in days if available_at(day) <= self.now][-5:]
        price = {day: math.log(self._bitcoin[day]) for day in out}
        weeks = [(moved[new], price[new] - price[old]) for old, new in pairwise(out)]
        pushed = sum(math.copysign(size, rise) for size, rise in weeks if abs(rise) >= FLAT)
        self.cme_rose = 1 if pushed > 0 else -1
        """Whether bitcoin's position at CME rose beside ether's, which stood still."""


def settings(folder: Path, listen: str, exchanges: Mapping[str, Exchange], tables: Path) -> Path:
    """The first monitor's: simulated venues, the operator's files, and no source besides."""
    lines = [f'listen = "{listen}"', f'state_dir = "{folder}"']
    for name, of in exchanges.items():
        lines += [f"[venues.{name}]", f'ws_url = "{of.ws_url}"', f'rest_url = "{of.rest_url}"']
    for name, source in SOURCES.items():
        if (tables / name).exists():
            lines += [f"[sources.{name}]", f'file = "{tables / name}"']
        elif source.default:
            lines += [f"[sources.{name}]", "enabled = false"]
    file = folder / "monitor.toml"
    file.write_text("\n".join(lines))
    return file


# The second monitor.


def burst() -> Market:
    """Much is liquidated, and as much is opened: no purge."""
    level = dict.fromkeys(ASSETS, 1.0)
    leg = Leg(name="burst", hours=100, price=level, coins=level, liquidated=0.07, longs=0.9)
    return Market(Scenario("burst", (leg,)), SEED, START, grain_s=60)


class Stopped(Shared):
    """A clock that may be stopped: no tick comes any more, and what is heard is never before now."""

    def __init__(self, started: float, speed: float) -> None:
        super().__init__(started, speed)
        self._stopped: Millis | None = None

    def now(self) -> Millis:
        return super().now() if self._stopped is None else self._stopped

    def stop(self) -> None:
        self._stopped = self.now()


async def follow(config: Config, clock: Stopped) -> int:
    """The second monitor, until it is ended; stops its clock at a signal."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, clock.stop)
    vars(app)["Queue"] = partial(Queue, HELD)
    async with running(config, clock):
        await asyncio.Event().wait()
    return 0


# What is looked at.


def shortened(rules: Any) -> Any:
    """Rules as shipped, but for the `for` of the alerts that are to fire."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            if rule["alert"] in FIRES and "for" in rule:
                rule["for"] = f"{math.ceil(1000 * seconds(rule['for']) / SHORTER)}ms"
    return rules


Firing = dict[tuple[str, str], list[dict[str, Any]]]
"""By alert and monitor: alerts that fired, once with each text that they had."""


class Seen(msgspec.Struct):
    """All programs, and what they said so far."""

    receivers: Receivers
    market: Market
    exchanges: dict[str, Exchange]
    operator: Operator
    first: Program
    second: Program
    store: str
    firing: Firing = {}
    log: dict[str, float] = {}
    """When each alert was first seen, seconds after the beginning."""

    async def fire(self, alerts: frozenset[str], within_s: float) -> None:
        """Waits until they all fired."""

        async def all_of_them() -> bool:
            return alerts <= {name for name, _ in self.firing}

        await self.until(f"firing {sorted(alerts)}", all_of_them, within_s)

    def told(self) -> set[str]:
        """Alerts that reached somebody."""
        posts = self.receivers.posts
        return {post.body["groupLabels"]["alertname"] for post in posts if post.body["status"] == "firing"}

    async def watch(self) -> None:
        """Notes what fires."""
        began = time.monotonic()
        known: set[str] = set()
        while True:
            for alert in (await get(self.store, "/api/v1/alerts"))["data"]["alerts"]:
                labels = alert["labels"]
                key = f"{sorted(labels.items())} {alert['annotations']['description']}"
                if alert["state"] == "firing" and key not in known:
                    known.add(key)
                    name = labels["alertname"]
                    self.log.setdefault(name, time.monotonic() - began)
                    self.firing.setdefault((name, labels.get("instance", "")), []).append(alert)
            await asyncio.sleep(0.3)

    async def query(self, text: str) -> list[Any]:
        found: list[Any] = (await get(self.store, "/api/v1/query", query=text))["data"]["result"]
        return found

    async def until(self, what: str, true: Callable[[], Awaitable[bool]], within_s: float) -> None:
        """Waits until something holds, or says what there is instead."""
        try:
            async with asyncio.timeout(within_s):
                while not await true():
                    await asyncio.sleep(0.2)
        except TimeoutError:
            pending = await self.query('ALERTS{alertstate="pending"}')
            raise AssertionError(
                f"not in {within_s:.0f} s: {what}; fired {self.log}, told {self.told()}, pending {pending}; "
                f"{self.first.said()} {self.second.said()}"
            ) from None


@asynccontextmanager
async def everything(folder: Path) -> AsyncIterator[Seen]:
    """Starts all of it, and ends it."""
    real = Clock()
    market = Market(SCENARIOS["calm"], SEED, real.now())
    operator = Operator(folder / "tables", market)
    # As much more of bitcoin went into the perpetuals, beside ether, as left CME; or the other way round.
    await asyncio.to_thread(history, folder, market, operator.cme_rose)
    async with AsyncExitStack() as ends:
        receivers = await ends.enter_async_context(receiving())
        exchanges = await ends.enter_async_context(simulate(VENUES, market, real))
        started = time.monotonic() + 5
        fast = await ends.enter_async_context(simulate(VENUES, burst(), Shared(started, FAST)))
        one, two, store, notifier = free(), free(), free(), free()
        second = Config(assets=("BTC", "ETH"), listen=two, tick_seconds=0.5, state_dir=folder / STANDING)
        rules = yaml.safe_load((ROOT / "grafana/rules/alerts.yml").read_text())
        asked = prometheus(ROOT, one, notifier)
        asked["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"}
        also = {"targets": [two], "labels": {"instance": STANDING}}
        asked["scrape_configs"][0]["static_configs"].append(also)
        asked["rule_files"] = [str(ROOT / "grafana/rules/recording.yml"), str(folder / "alerts.yml")]
        secrets = receivers.secrets(folder / "secrets", "webhook", "heartbeat")
        notify = hurried(receivers.settings(secrets))
        written = {"alerts": shortened(rules), "prometheus": asked, "alertmanager": notify}
        for name, text in written.items():
            (folder / f"{name}.yml").write_text(yaml.safe_dump(text, allow_unicode=True))
        programs = (
            Program(
                [sys.executable, "-m", "monitor", "run", "--config",
                 str(settings(folder, one, exchanges, operator.folder))],
                one, "/-/ready", folder / "first.log",
            ),
            Program(
                [sys.executable, __file__, against(second, fast).model_dump_json(), str(started)],
                two, "/-/ready", folder / "second.log",
            ),
            Program(
                [on_path("prometheus-alertmanager", "alertmanager"),
                 f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/alertmanager",
                 f"--web.listen-address={notifier}", "--cluster.listen-address="],
                notifier, "/-/ready", folder / "alertmanager.log",
            ),
            Program(
                [on_path("prometheus"), f"--config.file={folder}/prometheus.yml",
                 f"--storage.tsdb.path={folder}/prometheus", f"--web.listen-address={store}",
                 "--log.level=warn"],
                store, "/-/ready", folder / "prometheus.log",
            ),
        )  # fmt: skip
        for program in programs:
            ends.push_async_callback(program.end)
        # The last one asks the others as soon as it lives.
        await asyncio.gather(*(program.start() for program in programs[:-1]))
        await programs[-1].start()
        seen = Seen(receivers, market, exchanges, operator, programs[0], programs[1], store)
        watching = asyncio.create_task(seen.watch())
        try:
            yield seen
        finally:
            watching.cancel()
            shown = ", ".join(f"{name} {at:.0f} s" for name, at in seen.log.items())
            print(f"firing after {shown}")  # noqa: T201 -- shown with `pytest -s`


@pytest.mark.timeout(240)
async def test_each_fires_for_its_reason_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONITOR_STATE_DIR")  # each of the two has its own
    async with everything(tmp_path) as seen:
        by_size = sorted(LISTINGS, key=lambda name: level(seen.market, "BTC", seen.market.start, [name]))
        await seen.fire(AT_FIRST, 60)
        stopped = time.time()
        seen.second.tell(signal.SIGUSR1)

        async def both_known() -> bool:
            known = 'leverage_market_condition{kind=~"volatility_ratio_below_2|fair_value_above_price"} == 0'
            return len(await seen.query(known)) == 2

        await seen.until("a ratio above 2 and a fair value under the price", both_known, 30)
        seen.operator.gold_leaps()
        gone, *_ = by_size
        lying = by_size[-2:]
        seen.exchanges[gone].fault = "gone"
        for name in lying:
            seen.exchanges[name].fault = "scaled"
        await seen.fire(FIRES, 150)

        async def told() -> bool:
            return seen.told() >= FIRES

        await seen.until("told", told, 30)
        firing = seen.firing
    assert {name for name, _ in firing} == FIRES
    assert {name for name, monitor in firing if monitor == STANDING} >= OF_THE_SECOND
    assert not {name for name, monitor in firing if monitor == FIRST} & OF_THE_SECOND
    reasons(firing, gone, lying)
    assert since(firing, "SourceStale", FIRST) >= seen.operator.stale_at / 1000
    assert since(firing, "MonitorNotComputing", STANDING) >= stopped
    assert since(firing, "EventsDropped", STANDING) >= stopped


def since(firing: Firing, alert: str, monitor: str) -> float:
    """Time of day from which the only alert of a name stood."""
    (at,) = {one["activeAt"] for one in firing[alert, monitor]}
    return datetime.fromisoformat(at).timestamp()


def reasons(firing: Firing, gone: str, lying: list[str]) -> None:
    """Each says what was planted, of the monitor that saw it."""

    def of(alert: str, label: str = "", monitor: str = FIRST) -> dict[str, str]:
        """By a label, all that was said; a scrape that fails leaves a text without values for a second."""
        found: dict[str, str] = {}
        for one in firing[alert, monitor]:
            key = one["labels"].get(label, "")
            found[key] = found.get(key, "") + one["annotations"]["description"] + "\n"
        return found

    assert "BTC" in of("LeverageStretched", "asset")
    assert "longs pay unusually much" in of("FundingExtreme", "asset")["BTC"]
    assert set(of("EtfRedemptionsMaterial", "asset")) == {"BTC"}
    left = re.search(r"is ([\d.]+)% of the inflows before", of("EtfRedemptionsMaterial", "asset")["BTC"])
    assert left
    assert float(left[1]) >= 180  # of the two weeks as many days count as were before the six
    assert "the ratio is now below 2: 1." in of("VolatilityRatioCrossed")[""]
    assert "is now above the price, by more than its error" in of("FairValueGapSignChanged")[""]
    assert re.search(r"Longs liquidated at CME, of its open interest: BTC \d", of("PerpsAndCmeDisagree")[""])
    assert set(of("VenueSilent", "venue")) == {gone}
    assert set(of("VenueImplausible", "venue")) == {*lying}
    assert set(of("SourceStale", "source")) == {"ultrasound"}
    assert "the newest good value is 3d 0h" in of("SourceStale", "source")["ultrasound"]
    assert {one["labels"]["severity"] for one in firing["CoverageLow", FIRST]} == {"warning", "critical"}
    assert "BTC" in of("LiquidationBurst", "asset", STANDING)
    assert "0.00 evaluations" in of("MonitorNotComputing", "", STANDING)[""]
    assert "because the queue was full" in of("EventsDropped", "", STANDING)[""]


def test_every_alert_fires_in_a_test_with_a_real_prometheus() -> None:
    """`FIRES` of a module is what its tests assert to have seen firing."""
    shipped = yaml.safe_load((ROOT / "grafana/rules/alerts.yml").read_text())
    alerts = {rule["alert"] for group in shipped["groups"] for rule in group["rules"]}
    assert alerts == FIRES | end_to_end.FIRES


if __name__ == "__main__":  # the second monitor's own process
    _settings, _started = sys.argv[1:]
    _config = Config.model_validate_json(_settings)
    loop_run(lambda: follow(_config, Stopped(float(_started), FAST)))
