"""From a planted market to what reaches people: real programs, the shipped rules, intervals and routes.

Simulated venues, a monitor in a process of its own, Prometheus and Alertmanager, a webhook. Only addresses
are replaced, with one exception in each market, named there, where minutes would not fit into a test. Three
markets run side by side, as most of it is waiting.
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
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import yaml
from receivers import ROOT, Receivers, receiving

from monitor import app
from monitor.__main__ import loop_run
from monitor.app import running
from monitor.clock import Clock
from monitor.config import Config
from monitor.deleveraging.phases import Thresholds
from monitor.demo import START, against, plant
from monitor.events import Millis
from monitor.ladder import HOUR
from monitor.simulated import LISTINGS, SCENARIOS, Exchange, Market, Scenario, simulate
from monitor.simulated.macro import told
from monitor.stack import prometheus
from monitor.tick import readings
from monitor.venues import VENUES

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]  # the first test waits for all three markets

ASSETS = ("BTC", "ETH")
SEED = 3
WITHIN_S = 30.0
FIRES = frozenset({"PurgeStarted", "DeleveragingLikelyComplete", "MonitorDown", "VenueSilent"})
"""What the tests below see firing, and told."""
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


class Shared(Clock):
    """A clock of two processes: it stands at the start until a time of the monotonic clock, then runs."""

    def __init__(self, started: float, speed: float) -> None:
        super().__init__(START, speed)
        self._zero = started

    def now(self) -> Millis:
        return max(START, super().now())


async def follow(config: Config, name: str, clock: Clock) -> int:
    """The monitor of a demo."""
    if name == "calm":
        # What a silent venue said last counts for 20 s and not for 5 min: its loss has to matter here.
        readings.OPEN_INTEREST_LIFE = 20_000
    if name == "cycle":
        # A poll in 5 s would be one in 10 h of this market, and its purge would be spread over two days.
        polled = {
            venue.name: msgspec.structs.replace(
                venue,
                polls=tuple(msgspec.structs.replace(poll, every_s=0.5) for poll in venue.polls),
                budget=msgspec.structs.replace(venue.budget, weight=100_000),
            )
            for venue in VENUES.values()
        }
        vars(app)["VENUES"] = polled
    market = market_of(name)
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

    def tell(self, number: signal.Signals) -> None:
        """Sends it a signal that does not end it."""
        assert self._process is not None
        self._process.send_signal(number)

    def said(self) -> str:
        """The last of what it wrote."""
        return self._log.read_text()[-1000:]


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
    name: str, folder: Path, speed: float, tick: float, *, after_s: float = 0, impatient: bool = False,
    fit: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
) -> AsyncIterator[Stack]:  # fmt: skip
    """Runs them until the context ends; the market's clock stands before `after_s`.

    To the impatient, each change of a group is told at once. `fit`: what an Alertmanager can read of ours.
    """
    market = market_of(name)
    await asyncio.to_thread(plant, folder, market)
    async with AsyncExitStack() as ends:
        receivers = await ends.enter_async_context(receiving())
        started, began = time.monotonic() + after_s, time.time() + after_s
        exchanges = await ends.enter_async_context(simulate(VENUES, market, Shared(started, speed)))
        listen, store, notifier = free(), free(), free()
        config = against(Config(assets=ASSETS, listen=listen, tick_seconds=tick, state_dir=folder), exchanges)
        settings = receivers.settings(receivers.secrets(folder / "secrets", "webhook"))
        if impatient:
            settings = {**settings, "route": at_once(settings["route"])}
        written = {"alertmanager": fit(settings), "prometheus": prometheus(ROOT, listen, notifier)}
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
                [on_path("prometheus-alertmanager", "alertmanager"),
                 f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/alertmanager",
                 f"--web.listen-address={notifier}", "--cluster.listen-address="],
                notifier, "/-/ready", folder / "alertmanager.log",
            ),
        )  # fmt: skip
        for program in (running_stack.monitor, running_stack.notifier, running_stack.store):
            ends.push_async_callback(program.end)
        await asyncio.gather(running_stack.monitor.start(), running_stack.notifier.start())
        await running_stack.store.start()  # last: a slow start of the monitor is no outage
        stamping = asyncio.create_task(stamp(running_stack))
        try:
            yield running_stack
        finally:
            stamping.cancel()


def at_once(route: Mapping[str, Any]) -> dict[str, Any]:
    """A route with 5 s between two messages of a group, shipped with 5 min: what is false shows in time.

    The wait for the first message, and all else, is as shipped.
    """
    routes = [at_once(child) for child in route.get("routes", ())]
    return {**route, "group_interval": "5s", "routes": routes}


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


def level(market: Market, asset: str, now: Millis, venues: Iterable[str] = LISTINGS) -> float:
    """Open interest in coins, of all perpetuals."""
    listings = (of for venue in venues for of in LISTINGS[venue])
    return sum(
        market.coins(of, now) for of in listings if of.asset == asset and of.kind == "perpetual" and of.live
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

    @property
    def status(self) -> str:
        return str(self.body["status"])


def heard(of: Stack) -> list[Post]:
    return [Post(at, post.body) for at, post in zip(of.came, of.receivers.posts, strict=False)]


class Purge(msgspec.Struct):
    """What became of a purge."""

    posts: list[Post]
    delays: dict[str, dict[str, float]]
    """By asset: seconds after the planted second."""
    planted: dict[str, float]
    """By asset: most that the leg takes, as a part."""
    standing: dict[str, list[str]]
    """By whom, and after which restart: assets whose purge stood."""
    up: list[str]
    """What Prometheus said of the monitor in the end."""


FIRING = 'ALERTS{alertname="PurgeStarted", alertstate="firing"}'
PURGE = 'leverage_phase{phase="purge"} == 1 or leverage_phase_provisional == 1'


async def purge(folder: Path) -> Purge:
    """A purge is told; then, while it lasts, everything is restarted in turn, and the monitor is killed."""
    async with stack("purge", folder, speed=600, tick=0.6, after_s=5, impatient=True) as of:
        seen: dict[str, dict[str, float]] = {asset: {} for asset in ASSETS}
        watching = asyncio.create_task(watch(of, seen))
        try:
            await of.until(lambda: of.said("PurgeStarted", "firing") == list(ASSETS), 120)
        finally:
            watching.cancel()
        await asyncio.sleep(0.2)
        delays = {asset: await parts(of, asset, seen[asset]) for asset in ASSETS}
        for asset, steps in delays.items():
            said = ", ".join(f"{name} {at:+.1f} s" for name, at in steps.items())
            print(f"{asset}, after the planted second: {said}")  # noqa: T201 -- shown with `pytest -s`
        standing = {}

        async def known() -> bool:
            return await of.known("PurgeStarted") == {*ASSETS}

        # Prometheus tells Alertmanager once a minute what stands; the monitor is restarted meanwhile.
        await of.notifier.restart()
        await of.monitor.restart()
        await until(known, 100)
        await asyncio.sleep(10)  # the group waits for 5 s
        standing["Alertmanager, restarted"] = sorted(await of.known("PurgeStarted"))
        standing["monitor, restarted"] = await assets(of, PURGE)

        restarted = time.time()
        await of.store.restart()

        async def fires_anew() -> bool:
            return len(await of.query(f"timestamp({FIRING}) > {restarted}")) == len(ASSETS)

        await until(fires_anew, 60)
        await asyncio.sleep(10)
        standing["Prometheus, restarted"] = await assets(of, FIRING)
        standing["Alertmanager, after Prometheus"] = sorted(await of.known("PurgeStarted"))

        await of.monitor.end(signal.SIGKILL)
        await of.until(lambda: of.said("MonitorDown", "firing"), 120)
        await asyncio.sleep(10)
        standing["Prometheus, blind"] = await assets(of, FIRING)
        standing["Alertmanager, blind"] = sorted(await of.known("PurgeStarted"))
        ends = [begins(of.market.scenario, leg) for leg in ("purge", "stabilising")]
        coins = {asset: [level(of.market, asset, now) for now in ends] for asset in ASSETS}
        return Purge(
            heard(of), delays, {asset: 1 - after / before for asset, (before, after) in coins.items()},
            standing, [one["value"][1] for one in await of.query("up")],
        )  # fmt: skip


async def assets(of: Stack, text: str) -> list[str]:
    return sorted({one["metric"]["asset"] for one in await of.query(text)})


async def watch(of: Stack, seen: dict[str, dict[str, float]]) -> None:
    """Notes when the monitor shows a purge, and when Alertmanager knows of it."""
    while True:
        text = await get(of.monitor.address, "/metrics")
        known = await of.known("PurgeStarted")
        for asset, times in seen.items():
            labels = rf'(_provisional{{asset="{asset}"|{{asset="{asset}",phase="purge")}}'
            if re.search(rf"^leverage_phase{labels} 1(\.0)?$", text, re.MULTILINE):
                times.setdefault("shown", time.time())
            if asset in known:
                times.setdefault("known", time.time())
        await asyncio.sleep(0.2)


async def parts(of: Stack, asset: str, seen: dict[str, float]) -> dict[str, float]:
    """Seconds from the planted second to each step."""
    names = (
        f'leverage_phase{{asset="{asset}", phase="purge"}}',
        f'leverage_phase_provisional{{asset="{asset}"}}',
    )
    alert = f'ALERTS{{alertname="PurgeStarted", asset="{asset}", alertstate="%s"}}'
    times = {
        "fall begins": of.wall(begins(of.market.scenario, "purge")),
        "monitor shows it": seen["shown"],
        "Prometheus has it": min([at for name in names for at in await stamps(of, name)]),
        "pending": min(await stamps(of, alert % "pending")),
        "firing": min(await stamps(of, alert % "firing")),
        "Alertmanager has it": seen["known"],
        "webhook": next(post.at for post in heard(of) if post.group == f"PurgeStarted, {asset}"),
    }
    planted = of.wall(fell(of.market, asset))
    return {name: at - planted for name, at in times.items()}


async def stamps(of: Stack, text: str) -> list[float]:
    """Times of the samples that are 1."""
    found = await of.query(f"{text}[10m]")
    return sorted(float(at) for one in found for at, value in one["values"] if float(value) == 1)


class Recovery(msgspec.Struct):
    """What became of a purge that settled."""

    posts: list[Post]
    phases: dict[str, list[tuple[float, str]]]
    """By asset: what Prometheus had, and when."""


async def recovery(folder: Path) -> Recovery:
    """A purge is followed until it is over, and a little longer."""
    # A day is 12 s long: none may pass before the monitor is there.
    async with stack("cycle", folder, speed=7200, tick=0.5, after_s=18, impatient=True) as of:
        await of.until(lambda: of.said("PurgeStarted", "firing") == list(ASSETS), 120)
        await of.until(lambda: of.said("PurgeStarted", "resolved") == list(ASSETS), 300)
        await of.until(lambda: of.said("DeleveragingLikelyComplete", "firing") == list(ASSETS), 60)
        await asyncio.sleep(12)
        return Recovery(heard(of), {asset: await phases(of, asset) for asset in ASSETS})


async def phases(of: Stack, asset: str) -> list[tuple[float, str]]:
    found = [
        (at, one["metric"]["phase"])
        for one in await of.query(f'leverage_phase{{asset="{asset}"}}[10m]')
        for at, value in one["values"]
        if float(value) == 1
    ]
    return sorted(found)


class Calm(msgspec.Struct):
    """What became of a calm market."""

    cut: str
    posts: list[Post]
    alerts: list[dict[str, Any]]
    """Of the market, that were ever pending or firing."""
    phases: set[str]
    coverage: list[float]
    """In the end."""


async def calm(folder: Path) -> Calm:
    """The second largest venue is cut off; without the largest, coverage alone would keep alerts back."""
    async with stack("calm", folder, speed=60, tick=1.0) as of:

        async def covered() -> bool:
            return len(await of.query("leverage_coverage_ratio > 0.99")) == len(ASSETS)

        await until(covered, 60)
        *_, cut, _ = sorted(LISTINGS, key=lambda name: level(of.market, "BTC", START, [name]))
        of.exchanges[cut].fault = "gone"
        await of.until(lambda: of.said("VenueSilent", "firing"), 180)
        await asyncio.sleep(40)
        coverage = [float(one["value"][1]) for one in await of.query("leverage_coverage_ratio")]
        course = {one["metric"]["phase"] for one in await of.query("max_over_time(leverage_phase[10m]) == 1")}
        alerts = await of.query('max_over_time(ALERTS{category="market"}[10m])')
        return Calm(cut, heard(of), alerts, course, coverage)


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


def test_a_purge_is_told_once_in_30_s_and_no_restart_calls_it_off(outcomes: dict[str, Any]) -> None:
    found: Purge = of_kind(outcomes["purge"])
    # One of each, in all: no storm, and nothing is called off.
    assert sorted(post.group for post in found.posts) == [
        "MonitorDown", *(f"PurgeStarted, {asset}" for asset in ASSETS),
    ]  # fmt: skip
    assert {post.status for post in found.posts} == {"firing"}
    assert found.standing == {who: list(ASSETS) for who in found.standing}
    assert found.up == ["0"]
    for asset in ASSETS:
        steps = found.delays[asset]
        assert steps["fall begins"] < 0 < steps["webhook"] <= WITHIN_S
        assert steps["fall begins"] < steps["monitor shows it"]
        assert steps["Prometheus has it"] <= steps["pending"] < steps["firing"] < steps["webhook"]
        (alert,) = next(post for post in found.posts if post.group == f"PurgeStarted, {asset}").body["alerts"]
        assert (alert["labels"]["severity"], alert["labels"]["category"]) == ("critical", "market")
        said = alert["annotations"]
        assert said["summary"] == "Leverage is being purged."
        words = re.match(
            rf"{asset}: longs are flushed out, provisional until the day closes\. ([\d.]+)% of open interest "
            r"destroyed since its peak, \$[\d.]+ bn\. Open interest is [\d.]+% of market cap",
            said["description"],
        )
        assert words, said["description"]
        assert 0.05 < float(words[1]) / 100 < found.planted[asset] + 0.01
        growth = re.match(r"price-neutral growth of open interest (-[\d.]+)% in 4 h", said["value"])
        assert growth, said["value"]
        assert float(growth[1]) <= 100 * Thresholds().purge_growth_4h
        assert "or provisionally -6% in 4 h" in said["threshold"]
        assert "unknown" not in "".join(said.values())


def test_recovery_is_told_once(outcomes: dict[str, Any]) -> None:
    found: Recovery = of_kind(outcomes["recovery"])
    for asset, course in found.phases.items():
        names = [phase for _, phase in course]
        assert names.count("purge") == len(names[names.index("purge") : names.index("stabilising")]), course
        settled, _ = course[names.index("stabilising")]
        assert "purge" not in names[names.index("stabilising") :]
        posts = [post for post in found.posts if post.group == f"PurgeStarted, {asset}"]
        assert [post.status for post in posts] == ["firing", "resolved"]
        firing, resolved = posts
        assert resolved.body["groupKey"] == firing.body["groupKey"]
        after = resolved.at - settled
        print(f"{asset}: told {after:.1f} s after the purge was over")  # noqa: T201 -- shown with `pytest -s`
        # The rule waits for 2 min, lest a first word after a restart be taken for the end.
        assert 120 <= after <= 120 + WITHIN_S
        (behind,) = [post for post in found.posts if post.group == f"DeleveragingLikelyComplete, {asset}"]
        assert behind.status == "firing"
        assert behind.at > settled


def test_a_venue_that_is_cut_off_in_a_calm_market_is_told_as_that_and_nothing_else(
    outcomes: dict[str, Any],
) -> None:
    found: Calm = of_kind(outcomes["calm"])
    assert len(found.coverage) == len(ASSETS)
    assert all(Thresholds().min_coverage <= part < 0.95 for part in found.coverage)
    assert found.phases == {"build_up"}
    assert found.alerts == []
    (post,) = found.posts
    assert (post.group, post.status) == ("VenueSilent", "firing")
    (alert,) = post.body["alerts"]
    assert (alert["labels"]["venue"], alert["labels"]["category"]) == (found.cut, "monitor")
    words = rf"{found.cut}: (\d) silent channels, of \1, for more than 1 min\."
    assert re.match(words, alert["annotations"]["description"])


def test_all_that_this_module_claims_was_told(outcomes: dict[str, Any]) -> None:
    posts = [post for outcome in outcomes.values() for post in of_kind(outcome).posts]
    assert {post.body["groupLabels"]["alertname"] for post in posts if post.status == "firing"} >= FIRES


if __name__ == "__main__":  # the monitor's own process
    _settings, _name, _started, _speed = sys.argv[1:]
    _config, _clock = Config.model_validate_json(_settings), Shared(float(_started), float(_speed))
    loop_run(lambda: follow(_config, _name, _clock))
