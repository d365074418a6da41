"""The command line: `monitor COMMAND --help` explains each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from monitor import __version__
from monitor.config import LISTEN, Config, ConfigError, load
from monitor.history import HistoryError
from monitor.recording import RecordingError
from monitor.venues import VENUES

app = typer.Typer(
    name="monitor",
    help=(
        "Tells, live and with evidence, whether the crypto derivatives market has deleveraged.\n\n"
        "Start with `monitor demo`: simulated venues on this machine, no account, no internet. "
        "`monitor run` follows the real ones."
    ),
    epilog="Exit status: 0 done, 1 ran and found a failure, 2 wrong usage or settings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file of settings; see README.")
]
SHIPPED = Path(__file__).parent.parent
"""The repository, where `prometheus.yml` and `grafana/` lie."""
SourceOption = Annotated[Path, typer.Option(help="Folder with `prometheus.yml` and `grafana/`.")]
SecretsOption = Annotated[
    Path, typer.Option(help="Folder of one-line files that switch channels on; see its README.")
]
ListenOption = Annotated[str | None, typer.Option(help=f"Address and port to serve on; {LISTEN} by default.")]


def fail(text: str, status: int = 2) -> NoReturn:
    """One line on standard error, and the exit status."""
    typer.echo(f"monitor: {' '.join(text.split())}", err=True)
    raise typer.Exit(status)


def settings(
    path: Path | None, listen: str | None = None, known: frozenset[str] = frozenset(VENUES)
) -> Config:
    """The settings, or the end of the program."""
    try:
        config = load(path, known)
        return config if listen is None else Config.model_validate(
            config.model_dump() | {"listen": listen}
        )  # fmt: skip
    except ConfigError as error:
        fail(str(error))
    except ValueError:
        fail(f"--listen: not an address and port like {LISTEN}: {listen!r}")


def loop_run(main: Callable[[], Coroutine[Any, Any, int]]) -> NoReturn:
    """Runs a coroutine on uvloop where it exists; Ctrl-C and SIGTERM end it cleanly."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)

    async def guarded() -> int:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- run by a runner
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        return await main()

    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 -- where it exists

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            status = runner.run(guarded())
    except asyncio.CancelledError:
        status = 0  # asked to end
    except (ConfigError, HistoryError, RecordingError, OSError, BaseExceptionGroup) as error:
        fail(_one_line(error))
    raise typer.Exit(status)


def _one_line(error: BaseException) -> str:
    """What a foreseen error says; any other is raised again, with its traceback."""
    first = error
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, (ConfigError, HistoryError, RecordingError)):
        return str(first)
    if isinstance(first, OSError):
        return str(first.strerror or first)
    raise error


@app.callback(invoke_without_command=True)
def _version(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def run(config: ConfigOption = None, listen: ListenOption = None) -> None:
    """Follow the venues live, serve `/metrics` and the status page, until Ctrl-C.

    Example: `monitor run --config monitor.toml`
    """
    from monitor.commands import live  # noqa: PLC0415 -- polars and sockets only where needed

    chosen = settings(config, listen)
    loop_run(lambda: live.run(chosen))


@app.command()
def stack(
    *,
    config: ConfigOption = None,
    listen: ListenOption = None,
    prometheus: Annotated[str, typer.Option(help="Where Prometheus listens.")] = "127.0.0.1:9090",
    alertmanager: Annotated[str, typer.Option(help="Where Alertmanager listens.")] = "127.0.0.1:9093",
    secrets: SecretsOption = SHIPPED / "deploy" / "secrets",
    source: SourceOption = SHIPPED,
) -> None:
    """Follow the venues live beside a Prometheus and an Alertmanager of its own, until Ctrl-C.

    Their data lie in `state_dir`. Example: `monitor stack --config monitor.toml`
    """
    from monitor.commands import stack as beside  # noqa: PLC0415

    chosen = settings(config, listen)
    loop_run(lambda: beside.stack(chosen, source, secrets, prometheus, alertmanager))


@app.command()
def configure(
    *,
    out: Annotated[Path, typer.Option(help="Folder for `prometheus.yml` and `alertmanager.yml`.")],
    secrets: SecretsOption = SHIPPED / "deploy" / "secrets",
    source: SourceOption = SHIPPED,
    monitor: Annotated[str, typer.Option(help="Where Prometheus finds the monitor.")] = LISTEN,
    alertmanager: Annotated[str, typer.Option(help="Where it finds Alertmanager.")] = "127.0.0.1:9093",
) -> None:
    """Write the configurations of Prometheus and Alertmanager as they fit this place.

    A notification channel is left out, and named, until its files exist.

    Example: `monitor configure --out /etc/monitoring --secrets /run/secrets`
    """
    from monitor.commands import stack as beside  # noqa: PLC0415

    try:
        for line in beside.configure(source, secrets, out, monitor, alertmanager):
            typer.echo(line, err=True)
    except ConfigError as error:
        fail(str(error))


@app.command()
def demo(
    *,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="End after so many seconds; else at Ctrl-C.")
    ] = None,
    scenario: Annotated[
        str,
        typer.Option(help="`cycle`: a purge and what follows, a day a minute; `purge`: its hours; `calm`."),
    ] = "cycle",
    listen: ListenOption = None,
    speed: Annotated[
        float | None,
        typer.Option(min=1, max=10_000, help="Market seconds in a second of the wall; else the scenario's."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed is another market.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Also record the frames to this folder.")] = None,
    prometheus: Annotated[bool, typer.Option(help="Start a Prometheus too, where it is installed.")] = True,
) -> None:
    """Show everything against simulated venues on this machine: no account, no internet.

    Example: `monitor demo --seconds 120 --speed 100`
    """
    from monitor import demo as demonstration  # noqa: PLC0415

    chosen = settings(None, listen)
    loop_run(
        lambda: demonstration.demo(
            chosen,
            seconds=seconds,
            scenario=scenario,
            speed=speed,
            seed=seed,
            out=out,
            with_prometheus=prometheus,
        )
    )


@app.command()
def record(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the recording; made if it is missing.")],
    config: ConfigOption = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="End after so many seconds; else at Ctrl-C.")
    ] = None,
) -> None:
    """Record raw frames of the venues with their times of receipt, compressed.

    Example: `monitor record --out recordings --seconds 600`
    """
    from monitor.commands import live  # noqa: PLC0415

    chosen = settings(config)
    loop_run(lambda: live.record(chosen, out, seconds))


@app.command()
def replay(
    paths: Annotated[list[Path], typer.Argument(help="Recordings, or folders of them.")],
    *,
    speed: Annotated[
        float, typer.Option(min=0, help="Times as fast as it was recorded; 0: as fast as it can.")
    ] = 0,
    metrics: Annotated[
        Path | None, typer.Option(help="Write the text of `/metrics` here at the end.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(help="Serve `/metrics` meanwhile, and after the end until Ctrl-C."),
    ] = None,
) -> None:
    """Feed recordings through the same machine as live frames.

    Example: `monitor replay recordings --metrics metrics.prom`
    """
    from monitor.commands import offline  # noqa: PLC0415

    loop_run(lambda: offline.replay(paths, speed=speed, metrics=metrics, listen=listen))


@app.command()
def decode(
    venue: Annotated[str, typer.Argument(help="Name of the venue, such as `bybit`.")],
) -> None:
    """Print the events of frames: one JSON text a line on standard input, one event a line out.

    A line that is a JSON object with a `text` key is unwrapped. A frame that cannot be read is named
    on standard error with its line, and the exit status is then 1.

    Example: `monitor decode okx < frames.jsonl`
    """
    from monitor.commands import offline  # noqa: PLC0415

    if venue not in VENUES:
        fail(f"unknown venue {venue!r}; there are {', '.join(VENUES)}")
    raise typer.Exit(offline.decode(VENUES[venue], sys.stdin.buffer, sys.stdout.buffer))


@app.command()
def check(config: ConfigOption = None) -> None:
    """Check settings, every endpoint, the clock, the disk and the state folder; one line each.

    Exit status 1 if any fails. Example: `monitor check --config monitor.toml`
    """
    from monitor.commands import checks  # noqa: PLC0415

    chosen = settings(config)
    logging.disable()
    loop_run(lambda: checks.check(chosen))


@app.command()
def backfill(
    *,
    config: ConfigOption = None,
    venues: Annotated[
        str | None, typer.Option(help="Only these, such as `bybit,okx`; all that keep a past by default.")
    ] = None,
    assets: Annotated[
        str | None, typer.Option(help="Such as `BTC,ETH`; those of the settings by default.")
    ] = None,
    years: Annotated[
        float, typer.Option(min=0.01, max=10, help="How far back; the long-term average wants three.")
    ] = 3.0,
) -> None:
    """Fetch daily open interest, funding and prices of the past, without account or key.

    Asks only for what the history lacks, within the venues' limits, and may be interrupted at any time.
    Written from the venues' documents of 2026 and checked against servers that speak the same formats.
    Exit status 1 if something could not be got or it was interrupted; what was got is kept.

    Example: `monitor backfill --venues binance_usdm,bybit --assets BTC,ETH --years 3`
    """
    from monitor.archives import SOURCES  # noqa: PLC0415
    from monitor.commands import backfill as past  # noqa: PLC0415

    names = frozenset(SOURCES) if venues is None else frozenset(_listed(venues))
    if unknown := sorted(names - set(SOURCES)):
        fail(f"--venues: {unknown[0]!r} has no known past; there are {', '.join(SOURCES)}")
    chosen = settings(config, known=frozenset(VENUES) | frozenset(SOURCES))
    if venues is not None and (off := sorted(name for name in names if not chosen.venue(name).enabled)):
        fail(f"--venues: {off[0]!r} is switched off in the settings")
    wanted = chosen.assets if assets is None else tuple(_listed(assets))
    if wrong := [asset for asset in wanted if not (asset.isascii() and asset.isalnum() and asset.isupper())]:
        fail(f"--assets: not an asset such as BTC: {wrong[0]!r}")
    if not names or not wanted:
        fail("--venues and --assets: name at least one")
    loop_run(lambda: past.run(chosen, names, wanted, years))


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


@app.command()
def history(
    config: ConfigOption = None,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON list; times in milliseconds UTC.")
    ] = False,
) -> None:
    """Print what the store of history holds: spans, gaps and size, by step, venue and asset.

    Example: `monitor history --config monitor.toml`
    """
    from monitor.commands import history as stored  # noqa: PLC0415

    chosen = settings(config)
    try:
        stored.show(chosen.state_dir / "history", as_json=as_json)
    except (HistoryError, OSError) as error:
        fail(str(error))


@app.command()
def phases(
    table: Annotated[Path, typer.Argument(help="History: Parquet or CSV, days or finer; see README.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Write a row per asset and day to this .parquet or .csv.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON list, an object per asset and day.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw it to this .png.")] = None,
    asset: Annotated[str | None, typer.Option(help="Only this asset, such as BTC.")] = None,
) -> None:
    """Tell the phases of leverage of a history table: build-up, stretched, purge, stabilising, reset.

    Columns: `date` or `ts`, `asset`, `price_usd`, `oi_usd` or `oi_coin`; may have `venue`, `margin`
    (`linear`, `inverse`), `supply`, `funding_8h`, `long_liquidated_usd`, `short_liquidated_usd`.

    Example: `monitor phases history.parquet --plot phases.png`
    """
    from monitor.commands import phases as past  # noqa: PLC0415
    from monitor.table import TableError  # noqa: PLC0415

    try:
        past.show(table, asset=asset, out=out, plot=plot, as_json=as_json)
    except (TableError, past.Problem) as error:
        fail(str(error))


@app.command("volatility-ratio")
def volatility_ratio(
    *,
    bitcoin: Annotated[Path, typer.Option(help="Table of bitcoin: Parquet or CSV, `date` and `close`.")],
    gold: Annotated[Path, typer.Option(help="Table of gold; trading days only.")],
    window: Annotated[int, typer.Option(help="Returns of gold.")] = 126,
    on: Annotated[
        list[str] | None, typer.Option(help="Last day of the window, as 2025-11-04; may be repeated.")
    ] = None,
    clock: Annotated[
        str, typer.Option(help="`aligned`: bitcoin on gold's days; `own`: each annualised by its own.")
    ] = "aligned",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list.")] = False,
) -> None:
    """Print the volatility of bitcoin over that of gold, with its 90 % interval.

    Example: `monitor volatility-ratio --bitcoin btc.parquet --gold xau.parquet --on 2025-11-04`
    """
    from monitor.commands import valuation  # noqa: PLC0415

    try:
        status = valuation.show_ratio(bitcoin, gold, window, on or [], clock, as_json=as_json)
    except valuation.Problem as error:
        fail(str(error))
    raise typer.Exit(status)


@app.command("fair-value")
def fair_value(
    *,
    config: ConfigOption = None,
    ratio: Annotated[float | None, typer.Option(help="Volatility of bitcoin over that of gold.")] = None,
    gold_investment: Annotated[
        float | None, typer.Option(help="Dollars that private investors hold in gold.")
    ] = None,
    supply: Annotated[float | None, typer.Option(help="Coins; else estimated from the blocks.")] = None,
    spot: Annotated[float | None, typer.Option(help="Dollars a coin; without it, no gap.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Print what bitcoin would cost on equal risk capital with gold, and all that this assumes.

    What is not given is what a monitor of the same settings last knew: its slow sources and its history.

    Example: `monitor fair-value --ratio 1.8 --gold-investment 6.2e12 --spot 101500`
    """
    from monitor.commands import valuation  # noqa: PLC0415
    from monitor.macro.valuation import Given, TableError  # noqa: PLC0415

    chosen, now = settings(config), datetime.now(UTC)
    given = Given(ratio, gold_investment, supply, spot)
    try:
        known, table = valuation.stored(chosen, int(now.timestamp() * 1000))
        valuation.show_fair_value(given, known, now.date(), as_json=as_json, table=table)
    except (valuation.Problem, TableError, ConfigError, HistoryError, OSError) as error:
        fail(str(error))


@app.command()
def board(
    *,
    config: ConfigOption = None,
    url: Annotated[
        str | None,
        typer.Option(help="A running monitor, such as http://127.0.0.1:9650; where the settings listen."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON list, an object per claim and asset.")
    ] = False,
) -> None:
    """Print the claims of November 2025, each with its rule, its value now, and whether it holds.

    Reads a running monitor. Exit status 1 if none answers. Example: `monitor board --json`
    """
    from monitor.commands import board as claims  # noqa: PLC0415

    chosen = url or claims.of_listen(settings(config).listen)
    try:
        claims.show(chosen, as_json=as_json)
    except claims.WrongAddress as error:
        fail(f"--url: {error}")
    except claims.NoAnswer as error:
        fail(str(error), 1)


@app.command()
def export(
    *,
    config: ConfigOption = None,
    out: Annotated[Path | None, typer.Option(help="File of OpenMetrics to write.")] = None,
    prometheus_data: Annotated[
        Path | None, typer.Option(help="Folder of a Prometheus that is stopped; gets blocks.")
    ] = None,
    remote_write: Annotated[
        str | None, typer.Option(help="Address of a Prometheus that runs; gets the last three hours.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="First day; for Prometheus 400 days ago by default.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Day before which it ends; else now.")] = None,
) -> None:
    """Write the stored history for Prometheus, so that panels begin years ago.

    Hours where there are hours, else days; what only a close of a day tells is repeated every hour until the
    next. Brings nothing twice, counts afterwards, and may be interrupted. Exit status 1 if a count is wrong.

    Example: `monitor export --prometheus-data data`, start Prometheus, then
    `monitor export --remote-write http://127.0.0.1:9090`
    """
    from monitor.commands import export as exported  # noqa: PLC0415

    chosen = settings(config)
    loop_run(
        lambda: exported.run(
            chosen, out=out, data=prometheus_data, url=remote_write, since=since, until=until
        )
    )


@app.command()
def backtest(
    paths: Annotated[
        list[Path], typer.Argument(help="History tables (Parquet or CSV), or recordings and folders of them.")
    ],
    *,
    rules: Annotated[Path, typer.Option(help="Folder of alerting rules.")] = SHIPPED / "grafana" / "rules",
    events: Annotated[
        Path | None, typer.Option(help="CSV of known events: `date,label`, may have `asset`, `alert`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Tell when each alert would have fired and ended over history, by the shipped rules.

    The expressions are evaluated by a Prometheus of its own. Tables are judged by their daily closes, what an
    alert needs and the input lacks is named. Events belong to `PurgeStarted` where no `alert` is said.

    Example: `monitor backtest history.parquet --events known.csv`
    """
    from monitor.commands import backtest as past  # noqa: PLC0415

    loop_run(lambda: past.run(paths, rules, events, as_json=as_json))


@app.command()
def metrics(
    *,
    markdown: Annotated[bool, typer.Option(help="As the reference page `docs/METRICS.md`.")] = False,
) -> None:
    """Print the catalogue of metrics: name, type, unit, labels, help."""
    from monitor.commands import catalogue  # noqa: PLC0415

    catalogue.show(markdown=markdown)


def main() -> None:
    """Entry point of the command `monitor`."""
    app()


if __name__ == "__main__":
    main()
