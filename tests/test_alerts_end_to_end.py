"""From a planted market to what reaches people: real programs, the shipped rules, intervals and routes.

Simulated venues, a monitor in a process of its own, Prometheus and Alertmanager, a webhook. Nothing but addresses
is replaced, with one exception that its scenario names. Three markets run side by side, as most of it is waiting.
"""

from __future__ import annotations

import asyncio
import math
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import yaml
from receivers import ROOT, Receivers, hurried, receiving

from monitor.__main__ import loop_run
from monitor.app import running
from monitor.clock import Clock
from monitor.config import Config
from monitor.demo import START, against, plant
from monitor.events import Millis
from monitor.ladder import HOUR
from monitor.phases import Thresholds
from monitor.simulated import LISTINGS, SCENARIOS, Exchange, Market, Scenario, simulate
from monitor.simulated.macro import told
from monitor.stack import prometheus
from monitor.venues import VENUES

pytestmark = pytest.mark.timeout(600)  # the first test waits for all three markets

ASSETS = ("BTC", "ETH")
SEED = 3
WITHIN_S = 30.0
LEGS = SCENARIOS["cycle"].legs
MARKETS = {
    "purge": SCENARIOS["purge"],
    "calm": SCENARIOS["calm"],
    # Phases take days to be sure of; the days before the purge are not waited for.
    "cycle": Scenario("cycle", (msgspec.structs.replace(LEGS[1], hours=24.0), *LEGS[2:])),
}


# Programs.


def market_of(name: str) -> Market:
    return Market(MARKETS[name], SEED, START, grain_s=60)


async def follow(config: Config, name: str, started: float, speed: float) -> int:
    """The monitor of a demo, whose clock began at a time of the monotonic clock that all processes share."""
    market = market_of(name)
    clock = Clock(START + int((time.monotonic() - started) * 1000 * speed), speed)
    async with running(config, clock, told=lambda: told(market, clock.now())):
        await asyncio.Event().wait()
    return 0


class Program:
    """One that is started and ended by its id as often as told."""

    def __init__(self, command: list[str], address: str, ready: str, log: Path) -> None:
        self.address = address
        self._command = command
        self._ready = ready
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Until it answers."""
        with self._log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdout=out, stderr=out, start_new_session=True
            )
        async with aiohttp.ClientSession() as session, asyncio.timeout(60):
            while True:
                assert self._process.returncode is None, self._log.read_text()[-2000:]
                try:
                    async with session.get(f"http://{self.address}{self._ready}") as answer:
                        if answer.ok:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            await self._process.wait()

    async def restart(self) -> None:
        await self.end()
        await self.start()


def free() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def on_path(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    assert found, "run `make tools`"
    return found


class Stack(msgspec.Struct):
    """All programs of one market, and what they say."""

    market: Market
    exchanges: dict[str, Exchange]
    receivers: Receivers
    began: float
    """Time of day at which the market's clock began."""
    speed: float
    monitor: Program
    store: Program
    notifier: Program
    came: list[float] = []
    """Time of day of each post."""

    def wall(self, moment: Millis) -> float:
        """Time of day of a market time."""
        return self.began + (moment - START) / 1000 / self.speed

    def posts(self, alert: str) -> list[Any]:
        return [post.body for post in self.receivers.posts if post.body["groupLabels"]["alertname"] == alert]

    def said(self, alert: str, status: str) -> list[str]:
        """Assets of an alert's posts with a status."""
        return sorted(
            body["groupLabels"].get("asset", "") for body in self.posts(alert) if body["status"] == status
        )

    async def until(self, true: Callable[[], object], seconds: float) -> None:
        try:
            await self.receivers.until(true, seconds)
        except TimeoutError as error:
            heard = [(post.body["status"], post.body["groupLabels"]) for post in self.receivers.posts]
            alerts = await self.query("ALERTS")
            raise AssertionError(f"nothing in {seconds:.0f} s; posts {heard}; {alerts}") from error

    async def query(self, text: str) -> list[dict[str, Any]]:
        found = await get(self.store.address, "/api/v1/query", query=text)
        result: list[dict[str, Any]] = found["data"]["result"]
        return result

    async def known(self, alert: str) -> set[str]:
        """Assets of an alert that stands, as Alertmanager sees it."""
        found = await get(self.notifier.address, "/api/v2/alerts", filter=f'alertname="{alert}"')
        return {one["labels"]["asset"] for one in found}


async def get(address: str, path: str, **params: str) -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}{path}", params=params) as answer,
    ):
        return await answer.json() if path.startswith("/api") else await answer.text()


@asynccontextmanager
async def stack(
    name: str, folder: Path, speed: float, tick: float, interval: str | None = None
) -> AsyncIterator[Stack]:
    """Runs them; `interval` is the time between two messages of a group, where it is not the shipped one."""
    market = market_of(name)
    await asyncio.to_thread(plant, folder, market)
    async with AsyncExitStack() as ends:
        receivers = await ends.enter_async_context(receiving())
        started, began, clock = time.monotonic(), time.time(), Clock(START, speed)
        exchanges = await ends.enter_async_context(simulate(VENUES, market, clock))
        listen, store, notifier = free(), free(), free()
        config = against(Config(assets=ASSETS, listen=listen, tick_seconds=tick, state_dir=folder), exchanges)
        settings = receivers.settings(receivers.secrets(folder / "secrets", "webhook"))
        if interval is not None:
            settings = hurried(settings, wait="5s", interval=interval)
        written = {"alertmanager": settings, "prometheus": prometheus(ROOT, listen, notifier)}
        for of, text in written.items():
            (folder / f"{of}.yml").write_text(yaml.safe_dump(text, allow_unicode=True))
        running_stack = Stack(
            market, exchanges, receivers, began, speed,
            Program(
                [sys.executable, __file__, config.model_dump_json(), name, str(started), str(speed)],
                listen, "/metrics", folder / "monitor.log",
            ),
            Program(
                [on_path("prometheus"), f"--config.file={folder}/prometheus.yml",
                 f"--storage.tsdb.path={folder}/prometheus", f"--web.listen-address={store}",
                 "--log.level=warn"],
                store, "/-/ready", folder / "prometheus.log",
            ),
            Program(
                [on_path("prometheus-alertmanager", "alertmanager"), f"--config.file={folder}/alertmanager.yml",
                 f"--storage.path={folder}/alertmanager", f"--web.listen-address={notifier}",
                 "--cluster.listen-address="],
                notifier, "/-/ready", folder / "alertmanager.log",
            ),
        )  # fmt: skip
        programs = (running_stack.monitor, running_stack.notifier, running_stack.store)
        for program in programs:
            ends.push_async_callback(program.end)
        await asyncio.gather(*(program.start() for program in programs))
        stamping = asyncio.create_task(stamp(running_stack))
        try:
            yield running_stack
        finally:
            stamping.cancel()


async def stamp(of: Stack) -> None:
    while True:
        while len(of.came) < len(of.receivers.posts):
            of.came.append(time.time())
        await asyncio.sleep(0.05)


async def until(true: Callable[[], Any], seconds: float) -> None:
    """Waits for what another program says; one that is being started says nothing."""
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.2)


# What was planted.


def level(market: Market, asset: str, now: Millis) -> float:
    """Open interest in coins, of all perpetuals."""
    listings = (of for found in LISTINGS.values() for of in found)
    return sum(
        market.coins(of, now)
        for of in listings
        if of.asset == asset and of.kind == "perpetual" and of.live
    )


def begins(scenario: Scenario, leg: str) -> Millis:
    """Market time at which a leg begins."""
    names = [of.name for of in scenario.legs]
    return START + int(sum(of.hours for of in scenario.legs[: names.index(leg)]) * HOUR)


def fell(market: Market, asset: str) -> Millis:
    """The second of a planted purge at which open interest fell through the threshold against 4 h before."""
    moments = range(begins(market.scenario, "purge"), begins(market.scenario, "stabilising"), 1000)
    threshold = Thresholds().purge_growth_4h
    return next(
        now
        for now in moments
        if math.log(level(market, asset, now) / level(market, asset, now - 4 * HOUR)) <= threshold
    )


# The three markets.


class Post(msgspec.Struct):
    """A notification, and when it came."""

    at: float
    body: Any

    @property
    def group(self) -> str:
        return ", ".join(self.body["groupLabels"].values())


def heard(of: Stack) -> list[Post]:
    return [Post(at, post.body) for at, post in zip(of.came, of.receivers.posts, strict=False)]


class Purge(msgspec.Struct):
    """What became of a purge."""

    notified: list[Post]
    """Up to the first one of each asset."""
    posts: list[Post]
    delays: dict[str, dict[str, float]]
    """By asset: seconds after the planted second."""
    planted: dict[str, float]
    """By asset: most that the leg takes, as a part."""
    standing: list[list[str]]
    """Assets whose alert stood, in Alertmanager after each restart, in Prometheus at the end."""
    blind: bool
    """Whether Prometheus said in the end that the monitor is down."""


async def purge(folder: Path) -> Purge:
    async with stack("purge", folder, speed=600, tick=0.6) as of:
        seen: dict[str, dict[str, float]] = {asset: {} for asset in ASSETS}
        watching = asyncio.create_task(watch(of, seen))
        try:
            await of.until(lambda: of.said("PurgeStarted", "firing") == list(ASSETS), 120)
        finally:
            watching.cancel()
        await asyncio.sleep(0.2)
        notified = heard(of)
        delays = {asset: await parts(of, asset, seen[asset], notified) for asset in ASSETS}
        for asset, steps in delays.items():
            said = ", ".join(f"{name} {at:+.1f} s" for name, at in steps.items())
            print(f"{asset}, after the planted second: {said}")  # noqa: T201 -- shown with `pytest -s`
        standing = []

        async def known() -> bool:
            return await of.known("PurgeStarted") == {*ASSETS}

        # Prometheus tells again what stands once a minute; the monitor is restarted meanwhile.
        await of.notifier.restart()
        await of.monitor.restart()
        await until(known, 100)
        await asyncio.sleep(8)  # the group waits for 5 s
        standing.append(sorted(await of.known("PurgeStarted")))

        await of.store.restart()

        restarted = time.time()

        async def evaluated() -> bool:
            fresh = await of.query(f'timestamp(ALERTS{{alertname="PurgeStarted", alertstate="firing"}}) > {restarted}')
            return len(fresh) == len(ASSETS)

        await until(evaluated, 60)
        await asyncio.sleep(8)
        standing.append(sorted(await of.known("PurgeStarted")))

        await of.monitor.end(signal.SIGKILL)
        await of.until(lambda: of.said("MonitorDown", "firing"), 120)
        await asyncio.sleep(10)
        firing = await of.query('ALERTS{alertname="PurgeStarted", alertstate="firing"}')
        standing.append(sorted(one["metric"]["asset"] for one in firing))
        up = await of.query("up")
        start = {asset: level(of.market, asset, begins(of.market.scenario, "purge")) for asset in ASSETS}
        end = {asset: level(of.market, asset, begins(of.market.scenario, "stabilising")) for asset in ASSETS}
        return Purge(
            notified, heard(of), delays, {asset: 1 - end[asset] / start[asset] for asset in ASSETS},
            standing, [one["value"][1] for one in up] == ["0"],
        )  # fmt: skip


async def watch(of: Stack, seen: dict[str, dict[str, float]]) -> None:
    """Notes when the monitor shows a purge, and when Alertmanager knows of it."""
    while True:
        text = await get(of.monitor.address, "/metrics")
        assert isinstance(text, str)
        known = await of.known("PurgeStarted")
        for asset, times in seen.items():
            shows = rf'^leverage_phase(_provisional{{asset="{asset}"|{{asset="{asset}",phase="purge")}} 1(\.0)?$'
            if re.search(shows, text, re.MULTILINE):
                times.setdefault("shown", time.time())
            if asset in known:
                times.setdefault("known", time.time())
        await asyncio.sleep(0.2)


async def parts(of: Stack, asset: str, seen: dict[str, float], posts: Iterable[Post]) -> dict[str, float]:
    """Seconds from the planted second to each step, in order."""
    shows = f'leverage_phase{{asset="{asset}", phase="purge"}}', f'leverage_phase_provisional{{asset="{asset}"}}'
    scraped = [at for text in shows for at in await stamps(of, text)]
    alert = f'ALERTS{{alertname="PurgeStarted", asset="{asset}", alertstate="%s"}}'
    planted = of.wall(fell(of.market, asset))
    webhook = next(post.at for post in posts if post.group == f"PurgeStarted, {asset}")
    times = {
        "fall begins": of.wall(begins(of.market.scenario, "purge")),
        "monitor shows it": seen["shown"],
        "Prometheus scraped": min(scraped),
        "pending": min(await stamps(of, alert % "pending")),
        "firing": min(await stamps(of, alert % "firing")),
        "Alertmanager knows": seen["known"],
        "webhook": webhook,
    }
    return {name: at - planted for name, at in times.items()}


async def stamps(of: Stack, text: str) -> list[float]:
    """Times of the samples that are 1."""
    found = await of.query(f"{text}[10m]")
    return [float(at) for one in found for at, value in one["values"] if float(value) == 1]


async def recovery(folder: Path) -> list[Post]:
    """All that is told of a purge that settles.

    Messages of a group follow each other within 5 s instead of 5 min: a false one would show sooner.
    """
    async with stack("cycle", folder, speed=7200, tick=0.5, interval="5s") as of:
        await of.until(lambda: of.said("PurgeStarted", "firing") == list(ASSETS), 120)
        await of.until(lambda: of.said("PurgeStarted", "resolved") == list(ASSETS), 300)
        await asyncio.sleep(12)
        return heard(of)


class Calm(msgspec.Struct):
    """What became of a calm market."""

    cut: str
    posts: list[Post]
    market_alerts: list[dict[str, Any]]
    """That were ever pending or firing."""
    least: float
    """Coverage."""


async def calm(folder: Path) -> Calm:
    async with stack("calm", folder, speed=60, tick=1.0) as of:
        async def covered() -> bool:
            return len(await of.query("leverage_coverage_ratio > 0.99")) == len(ASSETS)

        await until(covered, 60)
        usd = {name: sum(of.market.open_interest_usd(one, START) for one in found) for name, found in LISTINGS.items()}
        cut = max(usd, key=usd.__getitem__)
        of.exchanges[cut].fault = "gone"
        await of.until(lambda: of.said("VenueSilent", "firing"), 180)
        await asyncio.sleep(45)
        market_alerts = await of.query('max_over_time(ALERTS{category="market"}[10m])')
        least = await of.query("min(min_over_time(leverage_coverage_ratio[1m]))")
        return Calm(cut, heard(of), market_alerts, float(least[0]["value"][1]))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of each market, what happened, or what went wrong."""
    async def all_of_them() -> list[Any]:
        scenarios = (of(tmp_path_factory.mktemp(of.__name__)) for of in (purge, recovery, calm))
        return await asyncio.gather(*scenarios, return_exceptions=True)

    return dict(zip(("purge", "recovery", "calm"), asyncio.run(all_of_them()), strict=True))


def of_kind(outcome: object) -> Any:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def told_of(posts: Iterable[Post]) -> list[tuple[str, str]]:
    return sorted((post.group, post.body["status"]) for post in posts)


def test_a_purge_is_told_once_in_30_s_and_no_restart_calls_it_off(outcomes: dict[str, Any]) -> None:
    found: Purge = of_kind(outcomes["purge"])
    print(told_of(found.posts))
    for asset, steps in found.delays.items():
        assert list(steps.values()) == sorted(steps.values()), asset
        assert 0 < steps["monitor shows it"] < steps["webhook"] <= WITHIN_S, asset
    first = {post.group: post.body for post in found.notified if post.group.startswith("PurgeStarted")}
    assert len(first) == len(ASSETS)
    for asset in ASSETS:
        body = first[f"PurgeStarted, {asset}"]
        print(body)
        (alert,) = body["alerts"]
        assert alert["labels"]["severity"] == "critical"
        said = alert["annotations"]
        assert said["summary"] == "Leverage is being purged."
        words = re.match(
            rf"{asset}: longs are flushed out, provisional until the day closes\. ([\d.]+)% of open interest "
            r"destroyed since its peak, \$[\d.]+ bn\. Open interest is [\d.]+% of market cap",
            said["description"],
        )
        assert words, said["description"]
        assert 0.06 < float(words[1]) / 100 < found.planted[asset] + 0.01
        assert "unknown" not in said["description"] + said["threshold"]
        assert said["value"].startswith("price-neutral growth of open interest -")
    # Restarts of Alertmanager, of the monitor, of Prometheus; a monitor that was killed.
    assert found.standing == [list(ASSETS)] * 3
    assert found.blind
    assert [post for post in found.posts if "resolved" in str(post.body["status"])] == []
    groups = [post.group for post in found.posts]
    assert sorted(group for group in groups if group.startswith("PurgeStarted")) == [
        f"PurgeStarted, {asset}" for asset in ASSETS
    ]
    assert groups.count("MonitorDown") == 1
    assert all(groups.count(group) == 1 for group in groups)


def test_recovery_is_told_once(outcomes: dict[str, Any]) -> None:
    posts: list[Post] = of_kind(outcomes["recovery"])
    print(told_of(posts))
    purges = [post for post in posts if post.group.startswith("PurgeStarted")]
    for asset in ASSETS:
        of = [post for post in purges if post.group.endswith(asset)]
        assert [post.body["status"] for post in of] == ["firing", "resolved"]
        print(of[1])


def test_a_venue_that_is_cut_off_in_a_calm_market_is_told_as_that_and_nothing_else(
    outcomes: dict[str, Any]
) -> None:
    found: Calm = of_kind(outcomes["calm"])
    print(told_of(found.posts), found)
    assert found.market_alerts == []
    assert found.least < 0.9
    (post,) = (post for post in found.posts if post.group == "VenueSilent")
    (alert,) = post.body["alerts"]
    assert alert["labels"]["venue"] == found.cut
    assert alert["annotations"]["description"].startswith(f"{found.cut}: ")
    assert all(post.body["commonLabels"]["category"] == "monitor" for post in found.posts)


if __name__ == "__main__":  # the monitor's own process
    _settings, _name, _started, _speed = sys.argv[1:]
    _config = Config.model_validate_json(_settings)
    loop_run(lambda: follow(_config, _name, float(_started), float(_speed)))
