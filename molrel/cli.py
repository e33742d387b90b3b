"""The command line: flags only, the work is done elsewhere."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

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


@dataclass(frozen=True)
class DataDiscrepancy:
    """Compares the substructures of two domains against a permutation null."""

    source: tyro.conf.Positional[str]
    """Address or CSV file."""
    target: tyro.conf.Positional[str]
    """Address or CSV file."""


@dataclass(frozen=True)
class Evaluate:
    """Scores a run again, or on another data set."""

    run: tyro.conf.Positional[Path]
    """Run folder."""
    data: str | None = None
    """Address or CSV file; default: the predictions of the run itself."""
    split: str | None = None
    """Only this stratum, such as new-new."""
    smiles_columns: tuple[str, ...] = ("smiles_a", "smiles_b")
    label_column: str = "label"


@dataclass(frozen=True)
class Predict:
    """Scores the pairs of a CSV file; keeps its rows and their order."""

    run: tyro.conf.Positional[Path]
    """Run folder."""
    input: Path
    """CSV file."""
    output: Path
    """CSV file with score, spread and error added."""
    smiles_columns: tuple[str, ...] = ("smiles_a", "smiles_b")


DataCommand = Annotated[
    Annotated[DataList, tyro.conf.subcommand("list")]
    | Annotated[DataInfo, tyro.conf.subcommand("info")]
    | Annotated[DataFetch, tyro.conf.subcommand("fetch")]
    | Annotated[DataOverlap, tyro.conf.subcommand("overlap")]
    | Annotated[DataDiscrepancy, tyro.conf.subcommand("discrepancy")],
    None,
]
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
    # Before JAX is imported: temporaries stay with the process instead of going back to
    # the system at every step.
    keep_heap()
    try:
        return {"train": _train, "evaluate": _evaluate, "predict": _predict, "data": _data}[
            command
        ](rest)
    except (InputError, RunError) as error:
        print(f"molrel: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"molrel: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return 1
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


def _train(arguments: list[str]) -> int:
    """``molrel train CONFIG.py --out FOLDER [flags]``; every config field is a flag."""
    from molrel.config import Experiment, load_config_file

    if not arguments or arguments[0].startswith("-"):
        if "--help" not in arguments and "-h" not in arguments:
            raise InputError("molrel train needs a config file", remedy="See configs/")
        base, rest = Experiment(), arguments
    else:
        base, rest = load_config_file(Path(arguments[0])), arguments[1:]

    @dataclass(frozen=True)
    class Train:
        """Trains an experiment and writes its run folder."""

        out: Path
        """Run folder."""
        experiment: Annotated[Experiment, tyro.conf.arg(name="")]
        resume: bool = False
        """Continue the run in the folder, bit for bit."""
        compare: tuple[Path, ...] = ()
        """Run folders to put beside this one in the report."""
        data: Annotated[str | None, tyro.conf.arg(name="data")] = None
        """CSV file or address of the source domain; also switches the target off."""
        target: str | None = None
        """CSV file or address of the target domain."""
        smiles_columns: tuple[str, ...] | None = None
        label_column: str | None = None

    flags = tyro.cli(Train, args=rest, default=Train(Path("runs") / base.name, base), prog="molrel train CONFIG.py")
    data = flags.experiment.data
    if flags.data is not None:
        data = replace(data, source=flags.data, target=None)
    if flags.target is not None:
        data = replace(data, target=flags.target)
    if flags.smiles_columns is not None:
        data = replace(data, smiles_columns=flags.smiles_columns)
    if flags.label_column is not None:
        data = replace(data, label_column=flags.label_column)
    enable_compilation_cache()
    from molrel.experiment import run

    run(
        replace(flags.experiment, data=data),
        flags.out,
        resume=flags.resume,
        compare=flags.compare,
    )
    return 0
