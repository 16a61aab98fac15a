"""`ghostnote serve`: a model played live over OSC."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ghostnote.inference.model_file import find_model, load_model
from ghostnote.osc_server.engine import compile_loop
from ghostnote.osc_server.options import ServerOptions
from ghostnote.osc_server.server import Server
from ghostnote.osc_server.server import serve as run_server
from ghostnote.osc_server.sink import SinkError, SinkOptions
from ghostnote.osc_server.state import default_path
from ghostnote.osc_server.table_voice import MAX_PAIRS

from .backend import Backend, choice_of
from .compile_ahead import kernel_compiled_meanwhile
from .precision import AnyPrecision


def serve(
    model: Annotated[
        str | None, typer.Option(help="Bundled model or .onnx file.", show_default="kit")
    ] = None,
    sink: Annotated[str, typer.Option(help="auto, jack, portaudio, null or file:PATH.")] = "auto",
    device: Annotated[
        str | None, typer.Option(help="Output device: number or part of its name.")
    ] = None,
    samplerate: Annotated[
        int | None, typer.Option(help="Hz; by default what the device has.")
    ] = None,
    blocksize: Annotated[int, typer.Option(help="Frames per device block; 0: its own.")] = 0,
    ring: Annotated[
        int, typer.Option(help="Frames kept ahead of the device (latency); 0: safe.")
    ] = 0,
    voices: Annotated[int, typer.Option(help="Voices, 1 to 64.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the voices.")] = 0,
    bind: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="UDP port for OSC; 0: any free one.")] = 9770,
    seconds: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
    record: Annotated[
        Path | None, typer.Option(help="Record the master to this WAV file from the start.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="Write a session log for `ghostnote replay`.")
    ] = None,
    models: Annotated[Path, typer.Option(help="Folder that clients may load models from.")] = Path(
        "models"
    ),
    recordings: Annotated[
        Path, typer.Option(help="Folder that clients may record and render into.")
    ] = Path("recordings"),
    presets: Annotated[Path, typer.Option(help="Folder that clients keep presets in.")] = Path(
        "presets"
    ),
    primes: Annotated[
        Path,
        typer.Option(help="Folder with sounds to prime voices with and MIDI grooves to render."),
    ] = Path("primes"),
    outputs: Annotated[int, typer.Option(help="Pairs of output channels, 1 to 32.")] = 1,
    state: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps the server's state.",
            show_default="state-PORT.json in your state folder",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Begin as the state file tells.")
    ] = False,
    sync: Annotated[
        str, typer.Option(help="Who says where the beat is: internal, osc, jack, midi or link.")
    ] = "internal",
    midi: Annotated[
        str | None, typer.Option(help="MIDI input for notes and clock: part of its name.")
    ] = None,
    http: Annotated[
        bool, typer.Option(help="Serve OSCQuery and the panel at TCP port --port.")
    ] = True,
    demo: Annotated[bool, typer.Option("--demo", help="Let the drummer play at once.")] = False,
    precision: AnyPrecision = None,
    backend: Backend = "auto",
) -> None:
    """Plays a model live: OSC in, sound out.

    Try it: `ghostnote serve --demo`, and in another terminal
    `ghostnote send /ghost/voice/1/trig/kick 0.9`. docs/osc.md lists all messages.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        sink_options = SinkOptions(
            sink, device, samplerate, blocksize, 2 * max(1, min(outputs, MAX_PAIRS))
        )
    except SinkError as error:
        raise typer.BadParameter(str(error)) from None
    if state is None and port != 0:
        state = default_path(port)
    options = ServerOptions(
        model=model,
        sink=sink_options,
        ring=ring,
        voices=voices,
        seed=seed,
        bind=bind,
        port=port,
        seconds=seconds,
        record=record,
        log=log,
        models=models,
        recordings=recordings,
        presets=presets,
        primes=primes,
        demo=demo,
        outputs=outputs,
        state=state,
        resume=resume,
        sync=sync,
        midi=midi,
        http=http,
    )
    chosen = choice_of(
        backend, precision, lambda: load_model(find_model(model)), max(1, voices), live=True
    )
    options = replace(options, precision=chosen.precision, backend=chosen.backend)
    typer.echo(
        "Starting (the first time the kernels are compiled: a quarter of a minute or more)",
        err=True,
    )
    with kernel_compiled_meanwhile() as meanwhile:
        if meanwhile:
            compile_loop()
    run_server(options, lambda server: _tell(server, chosen.why))


def _tell(server: Server, why: str) -> None:
    """Print what plays, where, and how to reach it."""
    spec = server.model.spec
    typer.echo(
        f"model   {server.model.name}: {spec.samplerate} Hz, kits {', '.join(spec.kits)}, weights in "
        f"{server.options.precision}"
    )
    if server.options.backend != "cpu":
        typer.echo(f"backend {server.options.backend}: {why}")
    typer.echo(f"sink    {server.sink.describe()}")
    typer.echo(f"        {server.sink_reason}")
    typer.echo(f"latency {server.latency_seconds * 1e3:.1f} ms from message to device")
    typer.echo(f"OSC     udp://{server.options.bind}:{server.network.udp.port}")
    typer.echo(f"        tcp://{server.options.bind}:{server.network.tcp.port}")
    if server.options.open_to_network:
        typer.echo("        anyone on the network can play this server: --bind opened it")
    if server.network.panel:
        typer.echo(f"panel   {server.network.panel}")
    typer.echo("ready   end with Ctrl-C or /ghost/quit")
