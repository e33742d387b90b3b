"""The commands of ``molrel``: flags only, the work is done elsewhere.

What takes seconds to import, such as JAX, is imported once the flags are right.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from molrel.errors import InputError
from molrel.machine import set_workers

if TYPE_CHECKING:
    from molrel.config import Experiment


@dataclass(frozen=True, kw_only=True)
class OnRun:
    """The flags of every command that uses a finished run."""

    run: tyro.conf.Positional[Path]
    """Run folder."""
    smiles_columns: tuple[str, ...] | None = None
    """Columns of a file that hold the molecules; default: those of the run's config."""
    workers: int | None = None
    """Processes that compute features; default: one a usable core."""
    trust_code: bool = False
    """Import a method that is not of this package, which runs code that the folder names."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(OnRun):
    """Scores a run again, or on another data set."""

    data: str | None = None
    """Address or CSV file; default: the predictions of the run itself."""
    stratum: Annotated[str | None, tyro.conf.arg(aliases=["--split"])] = None
    """Only this stratum, such as new-new."""
    label_column: str | None = None
    """Column of a CSV file that holds the label; default: that of the run's config."""


@dataclass(frozen=True, kw_only=True)
class Predict(OnRun):
    """Scores the pairs of a CSV file; keeps its rows and their order."""

    input: Path
    """CSV file, or another table; - reads standard input."""
    output: Path
    """The same with score, spread and error added; .gz and the like pack it, - prints it."""


@dataclass(frozen=True, kw_only=True)
class Embed(OnRun):
    """Writes one vector a molecule and seed."""

    input: Path
    """CSV file, or another table, of molecules; of its columns smiles, if there is one."""
    output: Path
    """npz file with the arrays smiles, z [seeds, molecules, width] and seeds."""


@dataclass(frozen=True)
class Ablate:
    """Trains every combination of options with every seed, and writes one table."""

    grid: tyro.conf.UseAppendAction[tuple[str, ...]]
    """FIELD=VALUE,VALUE; may be given several times."""
    out: Path
    """Folder of the runs and of table.md and table.csv; what is there already is not run again."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FIELD=VALUE, for the whole table."""
    seeds: int | None = None
    """How many; default: those of the config."""
    metric: str | None = None
    """Of the table; default: auroc, or rmse of a regression."""
    stratum: str = "all"
    """Only this stratum, such as new-new."""
    replicates: int = 200
    """Bootstrap replicates of the intervals."""
    workers: int | None = None
    """Processes that compute features; default: one a usable core."""


# Short names of the flags that users of a file of their own need.
ALIASES = {
    "--data": "--data.source",
    "--target": "--data.target",
    "--smiles-columns": "--data.smiles-columns",
    "--label-column": "--data.label-column",
    "--label-columns": "--data.label-columns",
    "--split-column": "--data.split-column",
    "--kind": "--data.kind",
    "--positive": "--data.positive",
    "--qualifiers": "--data.qualifiers",
    "--duplicates": "--data.duplicates",
}


def train(arguments: list[str]) -> int:
    """``molrel train PRESET|CONFIG.py --out FOLDER [flags]``; every config field is a flag."""
    from molrel import presets

    path, rest = _config_path(arguments)
    if path is None and not {"--help", "-h"} & set(arguments):
        raise InputError(
            "molrel train needs a preset or a config file, before its flags",
            remedy=f"Presets: {', '.join(presets.names())}",
        )

    from molrel.config import TrainCommand
    from molrel.config_files import load_config_file

    # Without a config the flags of a method cannot be known: those of a preset stand for them.
    base = load_config_file(path or presets.path_of("distrans_mixtures"))
    rest = [_long_name(argument) for argument in rest]
    given = {argument.partition("=")[0] for argument in rest}
    if given & {"--data.source", "--data.target"}:
        base = _with_task_of_its_set(base)
    # A user's own source has no business with the config's target, unless one is named.
    if "--data.source" in given and "--data.target" not in given:
        rest = [*rest, "--data.target", "None"]
    flags = tyro.cli(
        TrainCommand[type(base.method)],  # pyright: ignore[reportInvalidTypeArguments]
        args=rest,
        default=TrainCommand(base, Path("runs") / base.name),
        config=(tyro.conf.AvoidSubcommands,),
        prog="molrel train PRESET|CONFIG.py",
        description="Trains an experiment and writes its run folder. Presets: "
        + ", ".join(presets.names()),
    )
    set_workers(flags.workers)
    if flags.distributed:
        _join_hosts()
    from molrel.runner import run

    run(
        flags.experiment,
        flags.out,
        resume=flags.resume,
        overwrite=flags.overwrite,
        compare=flags.compare,
        config_file=path,
    )
    return 0


def _join_hosts() -> None:
    """``jax.distributed.initialize()``.

    Raises:
      InputError: it finds no cluster.
    """
    import jax

    try:
        jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"--distributed finds no other processes ({str(error).strip().splitlines()[0][:200]})",
            remedy="Start it by srun, mpirun or on every host of a TPU slice, or call "
            "jax.distributed.initialize(address, processes, number) and molrel.run from Python",
        ) from error


def embed(arguments: list[str]) -> int:
    """``molrel embed RUN --input FILE --output FILE.npz``."""
    flags = tyro.cli(Embed, args=arguments, prog="molrel embed")
    set_workers(flags.workers)
    from molrel.inference import embed_file

    counts = embed_file(
        flags.run, flags.input, flags.output, flags.smiles_columns, trust_code=flags.trust_code
    )
    print(f"{counts['embedded']} molecules embedded, {counts['failed']} unreadable: {flags.output}")
    return 0


def ablate(arguments: list[str]) -> int:
    """``molrel ablate PRESET|CONFIG.py --grid FIELD=VALUE,VALUE --seeds N --out FOLDER``."""
    path, rest = _config_path(arguments)
    flags = tyro.cli(Ablate, args=rest, prog="molrel ablate PRESET|CONFIG.py")
    if path is None:
        raise InputError("molrel ablate needs a preset or a config file, before its flags")
    set_workers(flags.workers)
    from molrel.config import parse_grid, with_options
    from molrel.config_files import load_config_file
    from molrel.sweeps import write_sweep

    config = load_config_file(path)
    for text in flags.set:
        name, values = parse_grid(config, text)
        config = with_options(config, {name: values[0]})
    if flags.seeds is not None:
        config = replace(config, seeds=tuple(range(flags.seeds)))
    write_sweep(
        config,
        dict(parse_grid(config, text) for text in flags.grid),
        flags.out,
        metric=flags.metric,
        stratum=flags.stratum,
        replicates=flags.replicates,
    )
    return 0


def _config_path(arguments: list[str]) -> tuple[Path | None, list[str]]:
    """(config file that is asked for, by its name or by --method; other arguments)."""
    from molrel import presets

    first = arguments[:1] if arguments and not arguments[0].startswith("-") else []
    rest = arguments[len(first) :]
    at = next((i for i, a in enumerate(rest) if a.partition("=")[0] == "--method"), None)
    if at is None:
        return (presets.find(first[0]) if first else None), rest
    _, equals, value = rest[at].partition("=")
    end = at + (1 if equals else 2)
    name = value if equals else "".join(rest[at + 1 : end])
    if not name or name.startswith("-"):
        raise InputError("--method needs a name", remedy=f"Presets: {', '.join(presets.names())}")
    if first:
        raise InputError(f"{first[0]!r} and --method {name} are two configs", remedy="Name one")
    return presets.path_of(name), rest[:at] + rest[end:]


def _with_task_of_its_set(config: Experiment) -> Experiment:
    """The config with kind and order of its own data set stated, as they hold for a file that
    takes the set's place."""
    from molrel.data import catalog

    try:
        task = catalog.describe(config.data.source).task
    except InputError:  # a file
        return config
    kind = "binary" if task.kind == "multilabel" else task.kind
    return replace(config, data=replace(config.data, kind=kind, symmetric=task.symmetric))


def _long_name(argument: str) -> str:
    """A flag's full name in place of its short one; also in ``--flag=value``."""
    name, equals, value = argument.partition("=")
    if name.startswith("--"):
        name = name.replace("_", "-")
        return ALIASES.get(name, name) + equals + value
    return argument


def evaluate(arguments: list[str]) -> int:
    """``molrel evaluate RUN``."""
    flags = tyro.cli(Evaluate, args=arguments, prog="molrel evaluate")
    set_workers(flags.workers)
    from molrel.inference import evaluate_run

    evaluate_run(
        flags.run,
        data=flags.data,
        stratum=flags.stratum,
        smiles_columns=flags.smiles_columns,
        label_column=flags.label_column,
        trust_code=flags.trust_code,
    )
    return 0


def predict(arguments: list[str]) -> int:
    """``molrel predict RUN --input FILE --output FILE``."""
    flags = tyro.cli(Predict, args=arguments, prog="molrel predict")
    set_workers(flags.workers)
    from molrel.files import is_standard_output
    from molrel.inference import predict_csv

    counts = predict_csv(
        flags.run, flags.input, flags.output, flags.smiles_columns, trust_code=flags.trust_code
    )
    print(
        f"{counts['scored']} rows scored, {counts['failed']} with an error: {flags.output}",
        file=sys.stderr if is_standard_output(flags.output) else sys.stdout,
    )
    return 0


def data(arguments: list[str]) -> int:
    """``molrel data list|info|overlap|discrepancy``."""
    from molrel import data_commands

    return data_commands.run(arguments)


COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "embed": embed,
    "ablate": ablate,
    "data": data,
}
