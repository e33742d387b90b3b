"""What a run leaves besides its record: the selected parameters, and predictions that are sealed.

Whose the folder is, and what was begun in it: ``run_record``; reading a finished run: ``runs``.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pandas as pd

from molrel.errors import InputError, RunError, writing
from molrel.files import (
    TEMPORARY,
    files_digest,
    remove,
)
from molrel.run_record import PREDICTIONS, read_record, update_record
from molrel.train.checkpoint import first_line, of_one_process, quiet, quiet_save


def save_best(best: dict[str, Any], record: dict[str, Any], folder: Path) -> None:
    """Writes the selected parameters of every seed to ``best/``, and their digest to the record.

    The old ones are there until the new ones are complete; the same ones are not written again.

    Raises:
      RunError: they cannot be written.
    """
    goal = folder.resolve() / "best"
    if record["best_digest"] is not None and goal.is_dir():
        with contextlib.suppress(InputError):  # damaged: to be written again
            if _same(read_best(folder, record["best_digest"]), best):
                return
    with writing(goal):
        scratch = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=goal.parent))
    checkpointer = ocp.StandardCheckpointer(**of_one_process())
    try:
        with quiet_save():
            checkpointer.save(scratch / "best", best)
            checkpointer.wait_until_finished()
    except Exception as error:  # orbax and tensorstore raise many kinds
        with contextlib.suppress(RunError):
            remove(scratch)
        raise RunError(f"{goal}: cannot write the parameters ({first_line(error)})") from error
    finally:
        checkpointer.close()
    # Before the folder: what is killed in between has no parameters yet, or is told by the
    # digest not to trust the old ones.
    record["best_digest"] = files_digest(scratch / "best")
    update_record(record, folder)
    with writing(goal):
        if goal.exists():
            os.rename(goal, scratch / "old")
        os.rename(scratch / "best", goal)
    remove(scratch)


def seal_predictions(record: dict[str, Any], folder: Path) -> None:
    """Adds the digest of ``predictions.csv`` to the record, by which damage is noticed."""
    record["predictions_digest"] = _sha256((folder / PREDICTIONS).read_bytes())
    update_record(record, folder)


def read_predictions(folder: Path) -> pd.DataFrame:
    """``predictions.csv`` of a run.

    Raises:
      InputError: it is missing, damaged, or another than the run wrote.
    """
    path, remedy = folder / PREDICTIONS, "train --resume writes it again"
    if not path.is_file():
        raise InputError("the run has not finished: no such file", path=path, remedy=remedy)
    content = path.read_bytes()
    expected = (read_record(folder) or {}).get("predictions_digest")
    if expected is not None and _sha256(content) != expected:
        raise InputError("is not the file that the run wrote", path=path, remedy=remedy)
    try:
        frame = pd.read_csv(io.BytesIO(content))
    except ValueError as error:  # of pandas' parser too
        raise InputError(
            f"cannot be read ({first_line(error)})", path=path, remedy=remedy
        ) from error
    missing = {"molecule_a", "label", "split", "stratum", "score_0"} - set(frame.columns)
    if missing:
        raise InputError(f"no columns {sorted(missing)}", path=path, remedy=remedy)
    return frame


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_best(folder: Path, expected: str | None) -> dict[str, Any]:
    """Parameters and state of a run, as NumPy arrays.

    Args:
      folder: of the run.
      expected: digest of their files; None for runs whose record has none.

    Raises:
      InputError: they are missing, damaged, or others than the record's.
    """
    best = folder.resolve() / "best"
    if not best.is_dir():
        raise InputError(
            "the run has not finished", path=folder, remedy="Continue it with train --resume"
        )
    # Before orbax, which leaves a broken event loop behind where it meets damage.
    if expected is not None and files_digest(best) != expected:
        raise _damaged(best, "they are not the files that the run ended with")
    quiet()
    options = of_one_process()
    checkpointer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options), **options)
    try:
        # NumPy, so that a run made on an accelerator is read on a machine without one.
        metadata: Any = checkpointer.metadata(best).item_metadata
        if metadata is None:
            raise ValueError("its metadata is damaged")
        restore = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata.tree)
        restored = checkpointer.restore(best, restore_args=restore)
    except Exception as error:  # orbax and tensorstore raise many kinds
        raise _damaged(best, first_line(error)) from error
    finally:
        checkpointer.close()
    # What has no leaves, such as the state without prototypes, is not stored.
    return {"state": {}, **restored}


def _same(a: Any, b: Any) -> bool:
    """Whether two pytrees have the same leaves, bit for bit."""
    first, second = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (a, b))
    return first.keys() == second.keys() and all(
        first[k].dtype == second[k].dtype and first[k].tobytes() == np.asarray(second[k]).tobytes()
        for k in first
    )


def _damaged(best: Path, why: str) -> InputError:
    return InputError(
        f"the parameters cannot be read ({why})",
        path=best,
        remedy="Delete this folder and run train --resume to write it again",
    )
