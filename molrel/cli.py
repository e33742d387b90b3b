"""The command line: flags only, the work is done elsewhere."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import tyro

from molrel.errors import InputError, RunError
from molrel.memory import enable_compilation_cache, keep_heap


@dataclass(frozen=True)
class DataList:
    """Lists the data sets of the catalogue."""


@dataclass(frozen=True)
class DataInfo:
    """Prints what is known of a data set, and loads it."""

    name: tyro.conf.Positional[str]
    """Name, or name/domain."""


@dataclass(frozen=True)
class DataFetch:
    """Downloads a named data set and verifies it."""

    name: tyro.conf.Positional[str]
    """Name in the catalogue."""
    folder: Path | None = None
    """Where to put it; default is the cache folder that is looked in."""


@dataclass(frozen=True)
class DataOverlap:
    """Counts molecules and pairs that two domains share."""

    source: tyro.conf.Positional[str]
    """Address or CSV file."""
    target: tyro.conf.Positional[str]
    """Address or CSV file."""
    smiles_columns: tuple[str, ...] = ("smiles_a", "smiles_b")
    """Columns of CSV files that hold the molecules."""


@dataclass(frozen=True)
class DataDiscrepancy:
    """Compares the substructures of two domains against a permutation null."""

    source: tyro.conf.Positional[str]
    """Address or CSV file."""
    target: tyro.conf.Positional[str]
    """Address or CSV file."""
    smiles_columns: tuple[str, ...] = ("smiles_a", "smiles_b")
    """Columns of CSV files that hold the molecules."""


@dataclass(frozen=True)
class Evaluate:
    """Scores a run again, or on another data set."""

    run: tyro.conf.Positional[Path]
    """Run folder."""
    data: str | None = None
    """Address or CSV file; default: the predictions of the run itself."""
    split: str | None = None
    """Only this stratum, such as new-new."""
    smiles_columns: tuple[str, ...] | None = None
    """Columns of a CSV file that hold the molecules; default: those of the run's config."""
    label_column: str | None = None
    """Column of a CSV file that holds the label; default: that of the run's config."""


@dataclass(frozen=True)
class Predict:
    """Scores the pairs of a CSV file; keeps its rows and their order."""

    run: tyro.conf.Positional[Path]
    """Run folder."""
    input: Path
    """CSV file."""
    output: Path
    """CSV file with score, spread and error added."""
    smiles_columns: tuple[str, ...] | None = None
    """Columns that hold the molecules; default: those of the run's config."""


DATA_COMMANDS = {
    "list": DataList,
    "info": DataInfo,
    "fetch": DataFetch,
    "overlap": DataOverlap,
    "discrepancy": DataDiscrepancy,
}
COMMANDS = ("train", "evaluate", "predict", "data")
USAGE = f"""usage: molrel {{{",".join(COMMANDS)}}} ...

  train CONFIG.py --out runs/NAME   train an experiment and report on it
  evaluate runs/NAME                print or recompute a run's table
  predict runs/NAME --input FILE --output FILE
  data list|info|overlap|discrepancy|fetch

molrel COMMAND --help lists the flags of a command."""


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns the exit code (0, 1 fault of ours, 2 wrong input)."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        print(f"molrel: unknown command {command!r}\n{USAGE}", file=sys.stderr)
        return 2
    # Both before JAX is imported: temporaries stay with the process instead of going back to
    # the system at every step, and compiled programs stay on disk for the next process.
    keep_heap()
    enable_compilation_cache()
    try:
        return {"train": _train, "evaluate": _evaluate, "predict": _predict, "data": _data}[
            command
        ](rest)
    except (InputError, RunError) as error:
        print(f"molrel: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"molrel: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except SystemExit as stop:  # of tyro, which has printed what is wrong with a flag
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print("molrel: stopped; --resume continues from the last checkpoint", file=sys.stderr)
        return 130
    except Exception:
        if os.environ.get("MOLREL_DEBUG"):
            raise
        last = traceback.format_exc().strip().splitlines()[-1]
        print(
            f"molrel: internal error: {last} (MOLREL_DEBUG=1 shows where)",
            file=sys.stderr,
        )
        return 1


# Short names of the flags that users of a CSV file need.
ALIASES = {
    "--data": "--data.source",
    "--target": "--data.target",
    "--smiles-columns": "--data.smiles-columns",
    "--label-column": "--data.label-column",
}


def _train(arguments: list[str]) -> int:
    """``molrel train CONFIG.py --out FOLDER [flags]``; every config field is a flag."""
    from molrel.config import Experiment, TrainCommand, load_config_file

    help_only = bool({"--help", "-h"} & set(arguments))
    if arguments and not arguments[0].startswith("-"):
        base, rest = load_config_file(Path(arguments[0])), arguments[1:]
    elif help_only:
        base, rest = Experiment(), arguments
    else:
        raise InputError("molrel train needs a config file", remedy="See configs/")

    rest = [_long_name(argument) for argument in rest]
    given = {argument.partition("=")[0] for argument in rest}
    # A user's own source has no business with the config's target, unless one is named.
    if "--data.source" in given and "--data.target" not in given:
        rest = [*rest, "--data.target", "None"]
    flags = tyro.cli(
        TrainCommand,
        args=rest,
        default=TrainCommand(base, Path("runs") / base.name),
        prog="molrel train CONFIG.py",
    )
    from molrel.experiment import run

    run(flags.experiment, flags.out, resume=flags.resume, compare=flags.compare)
    return 0


def _long_name(argument: str) -> str:
    """A flag's full name in place of its short one; also in ``--flag=value``."""
    name, equals, value = argument.partition("=")
    return ALIASES.get(name, name) + equals + value


def _evaluate(arguments: list[str]) -> int:
    flags = tyro.cli(Evaluate, args=arguments, prog="molrel evaluate")
    from molrel.inference import evaluate_run

    evaluate_run(
        flags.run,
        data=flags.data,
        stratum=flags.split,
        smiles_columns=flags.smiles_columns,
        label_column=flags.label_column,
    )
    return 0


def _predict(arguments: list[str]) -> int:
    flags = tyro.cli(Predict, args=arguments, prog="molrel predict")
    from molrel.inference import predict_csv

    counts = predict_csv(flags.run, flags.input, flags.output, flags.smiles_columns)
    print(f"{counts['scored']} rows scored, {counts['failed']} with an error: {flags.output}")
    return 0


def _data(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in DATA_COMMANDS:
        raise InputError(f"molrel data needs one of {', '.join(DATA_COMMANDS)}")
    command = DATA_COMMANDS[arguments[0]]
    flags = tyro.cli(command, args=arguments[1:], prog=f"molrel data {arguments[0]}")
    from molrel import data_commands

    match flags:
        case DataList():
            data_commands.list_sets()
        case DataInfo(name):
            data_commands.info(name)
        case DataFetch(name, folder):
            data_commands.fetch(name, folder)
        case DataOverlap(source, target, columns):
            data_commands.print_overlap(source, target, columns)
        case DataDiscrepancy(source, target, columns):
            data_commands.print_discrepancy(source, target, columns)
    return 0
