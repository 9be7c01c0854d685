"""``edgewright compile``: a model becomes artifacts in a folder, without a controller.

The same compiler, gates and cache as those of a push, so what passes here passes there. Each target is
reported: one without an artifact does not stop the others, and makes the exit status its error's number.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from edgewright.controller.blobs import BlobStore
from edgewright.controller.cli.options import AsJson
from edgewright.controller.cli.output import console, print_json, print_table
from edgewright.controller.compiler.cache import FOLDER as CACHE_FOLDER
from edgewright.controller.compiler.compiled import Compiled
from edgewright.controller.compiler.proof import how_proven
from edgewright.controller.compiler.protocol import CompileRequest, CompileResult
from edgewright.controller.compiler.protocol import Progress as Stage
from edgewright.controller.compiler.scratch import scratch
from edgewright.controller.compiler.worker import run_compile
from edgewright.controller.web.words import size
from edgewright.wire.targets import TABLE

_SUFFIXES: Final = {"onnx": ".onnx", "tflite": ".tflite"}


def compile_model(
    path: Annotated[Path, typer.Argument(help="Model folder, its model.toml, or a model file.")],
    target: Annotated[
        list[str] | None,
        typer.Option(help="Instead of those in model.toml; may be repeated. See `edgewright targets`."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for artifacts, golden vectors, report, card and SBOM.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data folder of a controller whose targets.toml counts too.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Compile even what was compiled before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compile a model for its targets on this machine, and show what the gates said."""
    store = local_store()
    with scratch(store) as place:
        request = CompileRequest(
            path=str(path),
            blobs=str(store / "blobs"),
            cache="" if fresh else str(store / CACHE_FOLDER),
            targets=tuple(target or ()),
            targets_file=str(data / TABLE) if data else "",
            scratch=str(store),
            secrets=str(place / "blobs"),
        )
        result = _run(request, quiet=as_json)
        report = describe(result)
        if out is not None:
            blobs = BlobStore(Path(request.secrets if result.confidential else request.blobs))
            write_out(result, report, blobs, out)
    if as_json:
        print_json(report)
    else:
        _show(result)
    if result.refused:
        raise typer.Exit(result.refused[0].error)


def local_store() -> Path:
    """Where compiled models are remembered for this user."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if root else Path.home() / ".cache") / "edgewright"


def describe(result: CompileResult) -> dict[str, Any]:
    """The report as plain data."""
    return {
        "model": result.model,
        "metrics": result.metrics,
        "notes": list(result.notes),
        "targets": [_describe(one, cached=one.target in result.cached) for one in result.compiled],
        "refused": [msgspec.to_builtins(one) for one in result.refused],
    }


def write_out(result: CompileResult, report: dict[str, Any], blobs: BlobStore, folder: Path) -> None:
    """Write artifacts, golden vectors, report, card and SBOM."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in result.compiled:
        stem = folder / f"{result.model}.{one.target}"
        stem.with_name(stem.name + _SUFFIXES[one.format]).write_bytes(blobs.read(one.artifact.sha256))
        stem.with_name(stem.name + ".golden").write_bytes(blobs.read(one.golden.sha256))
    for name, digest in (("card.md", result.card_sha256), ("sbom.cdx.json", result.sbom_sha256)):
        if digest:
            (folder / name).write_bytes(blobs.read(digest))
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))


def _run(request: CompileRequest, *, quiet: bool) -> CompileResult:
    if quiet:
        return run_compile(request)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(), transient=True) as progress:
        task = progress.add_task("check", total=1.0)

        def show(stage: Stage) -> None:
            progress.update(task, completed=stage.share, description=f"{stage.stage} {stage.target}".strip())

        return run_compile(request, show)


def _describe(one: Compiled, *, cached: bool) -> dict[str, Any]:
    return {
        "target": one.target,
        "chosen": one.chosen,
        "precision": one.precision,
        "format": one.format,
        "length": one.artifact.length,
        "sha256": one.artifact.sha256,
        "proven_on": list(one.proven_on),
        "qualification": "emulated",
        "native": one.native,
        "numbers": one.verdict.numbers,
        "verdicts": msgspec.to_builtins(one.verdicts),
        "left_alone": list(one.left_alone),
        "tools": one.tools,
        "notes": list(one.notes),
        "cached": cached,
    }


def _show(result: CompileResult) -> None:
    for note in result.notes:
        console().print(note, soft_wrap=True)
    columns = ("target", "ships", "size>", "of fp32's time>", "agrees>", "error>", "proven on")
    print_table(columns, (_row(one) for one in result.compiled), "There is no artifact.")
    for one in result.compiled:
        for verdict in one.verdicts:
            if not verdict.passed:
                said = "; ".join(verdict.failures)
                console().print(f"{one.target}: {verdict.name} was refused: {said}.", soft_wrap=True)
    for refusal in result.refused:
        console().print(f"{refusal.target}: E{refusal.error:03d} {refusal.detail}", soft_wrap=True)


def _row(one: Compiled) -> tuple[str, ...]:
    numbers = one.verdict.numbers
    how = how_proven("emulated", one.native)
    return (
        one.target,
        one.chosen,
        size(one.artifact.length),
        _number(numbers, "latency_ratio", ".2f"),
        _number(numbers, "agreement", ".2%"),
        _number(numbers, "logit_error", ".4f"),
        f"{', '.join(_short(runtime) for runtime in one.proven_on)}, {how}",
    )


def _short(runtime: str) -> str:
    """A runtime without the provider that everybody has.

    >>> _short("onnxruntime 1.31.1 CPUExecutionProvider"), _short("litert 2.3.0 XNNPACK")
    ('onnxruntime 1.31.1', 'litert 2.3.0 XNNPACK')
    """
    return runtime.removesuffix(" CPUExecutionProvider")


def _number(numbers: dict[str, float], name: str, form: str) -> str:
    return format(numbers[name], form) if name in numbers else "–"
