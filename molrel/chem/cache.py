"""Features of many molecules: computed in parallel, once, and kept on disk by content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import uuid
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import rdkit
from tqdm import tqdm

from molrel.chem.features import FeatureConfig, MoleculeFeatures, featurise
from molrel.chem.smiles import MoleculeError, canonical_smiles
from molrel.errors import RunError

FEATURISER_VERSION = 1
"""To be raised whenever the features of some molecule change."""

_MAGIC = b"molrel-features\n"
_PARALLEL_FROM = 200


def default_cache() -> Path:
    """``$MOLREL_CACHE``, or ``~/.cache/molrel/features``."""
    chosen = os.environ.get("MOLREL_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "molrel" / "features"


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
      RunError: the folder cannot be written to, for instance because the disk is full.
        Files that were complete before stay as they are.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(temporary, block)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunError(
            f"{path.parent}: cannot write molecule features ({error.strerror or error}). Free "
            "some space there, or point MOLREL_CACHE to another folder; what is already "
            "cached is kept and the next run continues from it"
        ) from error


def _write(path: Path, block: bytes) -> None:
    path.write_bytes(block)


def featurise_all(
    smiles: Sequence[str],
    config: FeatureConfig,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> list[MoleculeFeatures]:
    """Features of each molecule, from the cache where they are already known.

    Several processes may use one cache folder at the same time.

    Args:
      smiles: N molecules, repeats allowed; canonical ones are found in the cache without
        being parsed.
      config: what to compute.
      cache: folder of the cache; ``default_cache()`` if None.
      workers: processes to use when more than 200 molecules are missing; None means one a
        CPU core.
      progress: whether to show a progress bar; None means only on a terminal.

    Returns:
      N features in the order of ``smiles``; the same object for the same molecule.

    Raises:
      MoleculeError: a molecule cannot be featurised; names its SMILES.
      RunError: the cache cannot be written, or a worker process died.
    """
    folder = default_cache() if cache is None else Path(cache)
    known: dict[str, MoleculeFeatures] = {}
    canonical = {text: text for text in dict.fromkeys(smiles)}
    unseen = [t for t in canonical if not _recall(t, folder, config, known)]
    for text in unseen:
        canonical[text] = _canonical(text, config.max_atoms)
    missing = [
        c
        for c in dict.fromkeys(canonical[t] for t in unseen)
        if c not in known and not _recall(c, folder, config, known)
    ]
    hidden = None if progress is None else not progress
    with tqdm(total=len(missing), desc="featurise", unit="mol", disable=hidden) as bar:
        for text, block in _compute(missing, config, workers):
            store(cache_path(folder, text, config), block)
            known[text] = decode(block)
            bar.update()
    return [known[canonical[text]] for text in smiles]


def _recall(
    text: str, folder: Path, config: FeatureConfig, known: dict[str, MoleculeFeatures]
) -> bool:
    """Whether the cache has the molecule with this canonical SMILES; puts it into known."""
    # What is no string has no file; reading it as SMILES says why.
    features = load(cache_path(folder, str(text), config), text)
    if features is not None:
        known[text] = features
    return features is not None


def _canonical(smiles: str, max_atoms: int) -> str:
    try:
        return canonical_smiles(smiles, max_atoms)
    except MoleculeError as error:
        raise MoleculeError(error.reason, str(smiles)) from error


def _featurise_block(smiles: str, config: FeatureConfig) -> bytes:
    """What a worker does: features as a block, a tenth of the size to send back."""
    return encode(featurise(smiles, config))


def _compute(
    smiles: Sequence[str], config: FeatureConfig, workers: int | None
) -> Iterator[tuple[str, bytes]]:
    """(SMILES, block) of each molecule in order, with worker processes if there are many."""
    workers = min(workers or os.cpu_count() or 1, len(smiles) // 50)
    if workers < 2 or len(smiles) <= _PARALLEL_FROM:
        for text in smiles:
            yield text, _featurise_block(text, config)
        return
    # Not forked: a parent with JAX has threads, and a forked child of it may hang.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        with _without_main_module():
            blocks = pool.map(_featurise_block, smiles, [config] * len(smiles), chunksize=16)
        yield from zip(smiles, blocks, strict=True)
    except BrokenProcessPool as error:
        raise RunError(
            "a process that computes molecule features died (out of memory, or a crash inside "
            "RDKit). Run again with one worker to see at which molecule"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Keeps worker processes that start meanwhile from importing the parent's script.

    Python imports it into each of them, and with it JAX and whatever else the script
    needs; a script without ``if __name__ == "__main__"`` would even run again in each.
    Workers need this module alone.
    """
    main = sys.modules["__main__"]
    names = [name for name in ("__file__", "__spec__") if hasattr(main, name)]
    hidden = {name: getattr(main, name) for name in names}
    try:
        main.__spec__ = None
        main.__dict__.pop("__file__", None)
        yield
    finally:
        main.__dict__.update(hidden)
