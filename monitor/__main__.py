"""The command line: `monitor COMMAND --help` explains each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from monitor import __version__
from monitor.config import LISTEN, Config, ConfigError, load
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
ListenOption = Annotated[str | None, typer.Option(help=f"Address and port to serve on; {LISTEN} by default.")]


def fail(text: str, status: int = 2) -> NoReturn:
    """One line on standard error, and the exit status."""
    typer.echo(f"monitor: {' '.join(text.split())}", err=True)
    raise typer.Exit(status)


def settings(path: Path | None, listen: str | None = None) -> Config:
    """The settings, or the end of the program."""
    try:
        config = load(path, frozenset(VENUES))
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
    except (ConfigError, RecordingError, OSError, BaseExceptionGroup) as error:
        fail(_one_line(error))
    raise typer.Exit(status)


def _one_line(error: BaseException) -> str:
    """What a foreseen error says; any other is raised again, with its traceback."""
    first = error
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, (ConfigError, RecordingError)):
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
def demo(
    *,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="End after so many seconds; else at Ctrl-C.")
    ] = None,
    scenario: Annotated[str, typer.Option(help="Course of the market: `purge` or `calm`.")] = "purge",
    listen: ListenOption = None,
    speed: Annotated[
        float, typer.Option(min=1, max=2000, help="Market seconds in a second of the wall.")
    ] = 60.0,
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
