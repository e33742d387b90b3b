"""Whose a run folder is and what was begun in it: ``config.json`` and ``config.py``."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from molrel.config import Experiment
from molrel.config_json import CONFIG_FILE, Types, from_json, to_json, types_of
from molrel.data.types import Task
from molrel.errors import InputError
from molrel.files import (
    LOCK,
    refuse_links,
    remove,
    remove_temporaries,
    write_whole,
)
from molrel.prepare import Prepared

PACKAGES = ("jax", "jaxlib", "flax", "optax", "jraph", "rdkit", "numpy", "orbax-checkpoint")


RECORD, PREDICTIONS = "config.json", "predictions.csv"
WRITTEN = (
    RECORD,
    CONFIG_FILE,
    "metrics.jsonl",
    "tensorboard",
    "checkpoints",
    "best",
    PREDICTIONS,
    "rejected.csv",
    "contradictions.csv",
    "failed_batch.txt",
    "report.md",
    "report.json",
    "curves.png",
)
"""All that a run writes into its folder."""


CHANGEABLE = {"name", "data.source", "data.target", "train.replicates", "train.baselines"}
"""Fields that a resumed run may change: they do not touch training. Whether the data are the
same is told by their digest, not by where they lie."""


EXTENDABLE = ("train.steps", "train.epochs")


def claim(
    config: Experiment,
    folder: Path,
    *,
    resume: bool,
    overwrite: bool,
) -> dict[str, Any] | None:
    """Makes sure that a folder may be written to as a run's.

    Args:
      config: of the run, with full paths.
      folder: exists.
      resume: continue what is there.
      overwrite: remove the run that is there, by the names of ``WRITTEN``; other files stay.

    Returns:
      The record of the run that is continued; None for a new one.

    Raises:
      InputError: the folder holds something else, a link, or a run that this config does not
        continue.
    """
    refuse_links(folder)
    remove_temporaries(folder)
    present = sorted(p.name for p in folder.iterdir() if p.name != LOCK)
    if not present:
        return None
    record = read_record(folder)
    if record is None:
        occupied = [name for name in present if name in WRITTEN]
        if overwrite and not occupied:
            return None
        raise InputError(
            f"is not empty ({', '.join((occupied or present)[:3])}"
            f"{', ...' if len(occupied or present) > 3 else ''}), and is not a run's",
            path=folder,
            remedy="Choose another --out",
        )
    if overwrite:
        for name in WRITTEN[::-1]:  # the record last: what is killed meanwhile is still a run's
            remove(folder / name)
        return None
    if not resume:
        raise InputError(
            "already holds a run",
            path=folder,
            remedy="Add --resume to continue it or --overwrite to begin again, or choose another "
            "--out",
        )
    _check_continues(config, record, folder)
    return record


def read_record(folder: Path) -> dict[str, Any] | None:
    """``config.json`` of a run, None where there is none or it is no run's.

    Raises:
      InputError: a run's record that is damaged.
    """
    path = folder / RECORD
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except (ValueError, RecursionError) as error:
        if any((folder / name).exists() for name in ("checkpoints", "metrics.jsonl")):
            raise InputError(
                f"is damaged, or no run's config ({type(error).__name__})",
                path=path,
                remedy="Put back the file, or choose another --out",
            ) from error
        return None
    known = isinstance(values, dict) and isinstance(values.get("experiment"), dict)
    return values if known and "environment" in values else None


def _check_continues(config: Experiment, record: Mapping[str, Any], folder: Path) -> None:
    """Raises InputError unless the run that was begun can go on with the config."""
    wanted = flatten(to_json(config))
    # Fields that an older run did not have yet have their defaults.
    types = Types(folder=folder, known=types_of(config))
    stored = flatten(to_json(from_json(record["experiment"], folder / RECORD, types)))
    missing = object()
    different = {k for k in wanted if wanted[k] != stored.get(k, missing)} - CHANGEABLE
    for name in EXTENDABLE:
        if name in different and stored.get(name, 0) and wanted[name] > stored[name]:
            different.remove(name)
            print(
                f"note: {name} goes from {stored[name]} to {wanted[name]}; from here on the "
                "learning rate and the progress of the method are those of the longer run"
            )
    if different:
        raise InputError(
            f"the checkpoint there was written with another config; different: {sorted(different)}",
            path=folder,
            remedy="Resume with the same config, begin again with --overwrite, or choose another "
            "--out",
        )
    then, now = record["environment"].get("numbers"), numbers()
    if then is not None and then != now:
        changed = [
            f"{k} was {then.get(k)!r} and is {v!r}" for k, v in now.items() if then.get(k) != v
        ]
        raise InputError(
            f"JAX is set to compute otherwise than when the run was begun: {'; '.join(changed)}",
            path=folder,
            remedy="Set it as it was (JAX_ENABLE_X64 and its kin), or choose another --out",
        )


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted names."""
    if not isinstance(values, dict):
        return {prefix: values}
    out: dict[str, Any] = {}
    for name, value in values.items():
        out |= flatten(value, f"{prefix}.{name}" if prefix else name)
    return out


def numbers() -> dict[str, Any]:
    """Settings of JAX that change what a step computes."""
    return {
        name: getattr(jax.config, name)
        for name in (
            "jax_enable_x64",
            "jax_default_matmul_precision",
            "jax_default_prng_impl",
            "jax_threefry_partitionable",
        )
    }


def environment() -> dict[str, Any]:
    """Versions, device, settings of JAX and commit that a run depends on."""
    return {
        "python": platform.python_version(),
        "molrel": _version("molrel"),
        "packages": {package: _version(package) for package in PACKAGES},
        "commit": _commit(),
        "device": jax.devices()[0].device_kind,
        "numbers": numbers(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Of the package's own checkout: a package that was installed into another repository's
    folder has none, and neither has a machine without git."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(checkout), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return found.stdout.strip() or None


def write_record(
    config: Experiment,
    prepared: Prepared,
    folder: Path,
    *,
    columns: tuple[str, ...],
    begun: Mapping[str, Any] | None,
    text: bytes | None,
) -> dict[str, Any]:
    """Writes ``config.py`` and ``config.json``, which is all that reading the run needs beside its
    parameters.

    Args:
      config, prepared: of the run.
      folder: of the run.
      columns: SMILES columns that a file to be scored has by default.
      begun: record of the run that is continued, which tells the digest of its parameters.
      text: of the file that the config came from, kept as ``config.py`` for the reader.
    """
    record = {
        "experiment": to_json(config),
        "task": asdict(prepared.task),
        "sides": len(prepared.source_all.sides),
        "columns": list(columns),
        "data_digest": prepared.digest,
        "label_mean": prepared.label_mean.tolist(),
        "label_scale": prepared.label_scale.tolist(),
        "best_digest": None if begun is None else begun.get("best_digest"),
        "predictions_digest": None,
        "environment": environment(),
    }
    # First, as it is what makes the folder a run's: one that is killed here can be continued.
    update_record(record, folder)
    if text is not None:
        if (folder / CONFIG_FILE).exists() and (folder / CONFIG_FILE).read_bytes() != text:
            print(f"note: the config file is not the one the run was begun with ({CONFIG_FILE})")
        write_whole(folder / CONFIG_FILE, text)
    return record


def update_record(record: Mapping[str, Any], folder: Path) -> None:
    """Writes ``config.json``, whole or not at all."""
    write_whole(folder / RECORD, json.dumps(record, indent=2) + "\n")


def task_of(record: Mapping[str, Any]) -> Task:
    """The task of a run, from its record; of an older one without names of classes."""
    task = record["task"]
    names = {name: tuple(task[name]) for name in ("targets", "units")}
    return Task(**task | names | {"classes": tuple(task.get("classes", ()))})
