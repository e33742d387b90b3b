"""Features of many molecules: computed in parallel, once, and kept on disk by content."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import time
import uuid
import zlib
from collections.abc import Generator, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import rdkit
from tqdm import tqdm

from molrel.chem.features import FeatureConfig, MoleculeFeatures, featurise
from molrel.chem.processes import map_in_processes
from molrel.chem.smiles import MoleculeError, canonical_smiles
from molrel.machine import NO_HOME, say_once, user_cache, worker_count

FEATURISER_VERSION = 2
"""To be raised whenever the features of some molecule change."""

_MAGIC = b"molrel-features\n"
_PARALLEL_FROM = 200
_ABANDONED_AFTER = 24 * 3600.0


def default_cache() -> Path | None:
    """``$MOLREL_CACHE``, or ``~/.cache/molrel/features``.

    None where MOLREL_CACHE is set to nothing, and, which is said once, without a home folder.
    """
    chosen = os.environ.get("MOLREL_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    base = user_cache()
    if base is None:
        say_once(NO_HOME)
    return None if base is None else base / "features"


def cache_path(folder: Path, canonical: str, config: FeatureConfig) -> Path:
    """File of one molecule, named by everything that its features depend on."""
    content = [canonical, asdict(config), FEATURISER_VERSION, rdkit.__version__]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return folder / digest[:2] / f"{digest}.features"


def encode(features: MoleculeFeatures) -> bytes:
    """One compressed block: a JSON header, then the bytes of each array.

    The block carries zlib's checksum, so damage is noticed by ``decode``.
    """
    text, arrays, buffers = {}, [], []
    for field in fields(features):
        value = getattr(features, field.name)
        if isinstance(value, np.ndarray):
            arrays.append([field.name, value.dtype.str, value.shape])
            buffers.append(np.ascontiguousarray(value).tobytes())
        else:
            text[field.name] = value
    header = json.dumps({"text": text, "arrays": arrays}).encode()
    body = b"".join([len(header).to_bytes(8, "little"), header, *buffers])
    return _MAGIC + zlib.compress(body, level=1)


def decode(block: bytes) -> MoleculeFeatures:
    """The inverse of ``encode``.

    Raises:
      ValueError: the block is truncated or damaged.
    """
    if not block.startswith(_MAGIC):
        raise ValueError("not a block of molecule features")
    try:
        body = zlib.decompress(block[len(_MAGIC) :])
        start = 8 + int.from_bytes(body[:8], "little")
        header = json.loads(body[8:start])
        values = dict(header["text"], flags=tuple(header["text"]["flags"]))
        for name, dtype, shape in header["arrays"]:
            count = int(np.prod(shape))
            # Copied, as a view into the block need not be aligned in memory.
            array = np.frombuffer(body, np.dtype(dtype), count, start).reshape(shape).copy()
            values[name] = array
            start += array.nbytes
        return MoleculeFeatures(**values)
    except (zlib.error, KeyError, TypeError) as error:
        raise ValueError(f"damaged block of molecule features ({error})") from error


def load(path: Path, canonical: str) -> MoleculeFeatures | None:
    """The features in a cache file; None if it is missing, damaged or of another molecule."""
    try:
        features = decode(path.read_bytes())
    except (OSError, ValueError):
        return None
    return features if features.smiles == canonical else None


def store(path: Path, block: bytes) -> None:
    """Writes a cache file so that readers see all of it or nothing.

    Raises:
      OSError: the folder cannot be written to, for instance because the disk is full. Files
        that were complete before stay as they are.
    """
    _clean(path.parent)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(temporary, block)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _write(path: Path, block: bytes) -> None:
    path.write_bytes(block)


@functools.cache
def _clean(folder: Path) -> None:
    """Deletes what processes that were killed have left, once for each folder written to.

    Their age alone tells, as the cache may be shared with machines whose processes cannot be
    seen from here. Writing a file takes milliseconds.
    """
    with contextlib.suppress(OSError):
        for path in folder.glob("*.features.*.tmp"):
            if path.stat().st_mtime < time.time() - _ABANDONED_AFTER:
                path.unlink()


def featurise_all(
    smiles: Sequence[str],
    config: FeatureConfig,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> list[MoleculeFeatures]:
    """Features of each molecule, as ``featurise_each``, where all of them can be featurised.

    Returns:
      N features in the order of ``smiles``; the same object for the same molecule.

    Raises:
      MoleculeError: a molecule cannot be featurised; names the first such SMILES. The others
        are in the cache by then.
      RunError: as ``featurise_each``.
    """
    features, failures = featurise_each(
        smiles, config, cache=cache, workers=workers, progress=progress
    )
    for text, reason in failures.items():
        raise MoleculeError(reason, str(text))
    return [features[text] for text in smiles]


def featurise_each(
    smiles: Sequence[str],
    config: FeatureConfig,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> tuple[dict[str, MoleculeFeatures], dict[str, str]]:
    """Features of each molecule, from the cache where they are already known.

    Several processes may use one cache folder at the same time. Where the cache cannot be
    written to, one line on standard error says so, and the features are used all the same.

    Args:
      smiles: N molecules, repeats allowed; canonical ones are found in the cache without
        being parsed.
      config: what to compute.
      cache: folder of the cache; ``default_cache()`` if None.
      workers: processes to use when more than 200 molecules are missing; None means
        ``$MOLREL_WORKERS``, or one for each core that this process may use. 1 computes in this
        process.
      progress: whether to show a progress bar; None means only on a terminal.

    Returns:
      (features, failures): by SMILES as given, in that order. The features are the same
      object for the same molecule; failures give the reason.

    Raises:
      RunError: a worker process died, or a library to draw with is missing.
    """
    folder = default_cache() if cache is None else Path(cache)
    known: dict[str, MoleculeFeatures] = {}
    failures: dict[str, str] = {}
    canonical = {text: text for text in dict.fromkeys(smiles)}
    unseen = [t for t in canonical if not _recall(t, folder, config, known)]
    for text in unseen:
        try:
            canonical[text] = canonical_smiles(text, config.max_atoms)
        except MoleculeError as error:
            failures[text] = error.reason
    missing = [
        c
        for c in dict.fromkeys(canonical[t] for t in unseen if t not in failures)
        if c not in known and not _recall(c, folder, config, known)
    ]
    hidden = None if progress is None else not progress
    with (
        tqdm(total=len(missing), desc="featurise", unit="mol", disable=hidden) as bar,
        # Closed at once when interrupted, so that no worker outlives the work.
        contextlib.closing(_compute(missing, config, workers)) as results,
    ):
        for text, result in zip(missing, results, strict=True):
            if isinstance(result, bytes):
                known[text] = decode(result)
                folder = _keep(folder, text, config, result)
            else:
                failures[text] = result
            bar.update()
    reasons = {t: failures.get(t) or failures.get(c) for t, c in canonical.items()}
    return (
        {t: known[c] for t, c in canonical.items() if reasons[t] is None},
        {t: reason for t, reason in reasons.items() if reason is not None},
    )


def _recall(
    text: object, folder: Path | None, config: FeatureConfig, known: dict[str, MoleculeFeatures]
) -> bool:
    """Whether the cache has the molecule with this canonical SMILES; puts it into known."""
    if folder is None or not isinstance(text, str):  # reading it as SMILES says why
        return False
    features = load(cache_path(folder, text, config), text)
    if features is not None:
        known[text] = features
    return features is not None


def _keep(folder: Path | None, text: str, config: FeatureConfig, block: bytes) -> Path | None:
    """Puts a block into the cache; returns where to put the next, None if that is of no use."""
    if folder is None:
        return None
    path = cache_path(folder, text, config)
    try:
        store(path, block)
    except OSError as error:
        say_once(
            f"{folder}: molecule features cannot be kept there ({error.strerror or error}), so "
            "that the next run computes them again; MOLREL_CACHE can name another folder"
        )
        return None
    return folder


def _featurise_block(smiles: str, config: FeatureConfig) -> bytes | str:
    """What a worker does: features as a block, a tenth of the size; or why there are none."""
    try:
        return encode(featurise(smiles, config))
    except MoleculeError as error:
        return error.reason


def _compute(
    smiles: Sequence[str], config: FeatureConfig, workers: int | None
) -> Generator[bytes | str]:
    """``_featurise_block`` of each molecule in order, in other processes if there are many."""
    function = functools.partial(_featurise_block, config=config)
    workers = min(worker_count(workers), len(smiles) // 50)
    if workers < 2 or len(smiles) <= _PARALLEL_FROM:
        return (function(text) for text in smiles)
    return map_in_processes(function, smiles, workers)
