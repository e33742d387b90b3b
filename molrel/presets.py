"""The config files that come with the package, by name; what ``molrel train`` is asked for."""

from __future__ import annotations

import difflib
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from molrel.errors import InputError

if TYPE_CHECKING:
    from molrel.config import Experiment


def folder() -> Path:
    """Where the presets are: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def names() -> list[str]:
    """Every preset."""
    return sorted(path.stem for path in folder().glob("*.py"))


def path_of(name: str) -> Path:
    """The config file of a preset; "CGIB", "ssi-ddi" and "distrans" are understood too.

    Raises:
      InputError: no preset is called so; the message names the nearest.
    """
    known = {_plain(each): each for each in names()}
    # A method alone is trained on the built-in set.
    for wanted in (_plain(name), _plain(f"{name}_mixtures")):
        if wanted in known:
            return folder() / f"{known[wanted]}.py"
    near = difflib.get_close_matches(_plain(name), known, 3)
    remedy = f"Did you mean {' or '.join(known[n] for n in near)}? " if near else ""
    raise InputError(
        f"no preset is called {name!r}",
        remedy=f"{remedy}Presets: {', '.join(names())}. A config file is named by its path, "
        "such as ./my_config.py",
    )


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def load_preset(name: str) -> Experiment:
    """The experiment of a preset.

    Raises:
      InputError: see ``path_of``.
    """
    from molrel.config_files import load_config_file

    return load_config_file(path_of(name))


def find(asked: str) -> Path:
    """The config file that ``molrel train`` is asked for.

    What has a folder in it or ends in .py is a path; any other name is that of a file in the
    current folder, if there is one, or of a preset.

    Raises:
      InputError: there is no such preset, or it is a data file.
    """
    path = Path(asked)
    if path.suffix == ".py":
        return path
    if path.suffix and (path.is_file() or _means_data(path)):
        raise _data_file(path)
    if path.name != asked:
        return path
    if not path.is_file():
        return path_of(asked)
    if asked in names():
        print(f"config: the file ./{asked}; for the preset of this name, --method {asked}")
    return path


def _means_data(path: Path) -> bool:
    """Whether the name is that of a data file, be it there or not."""
    from molrel.data.formats import SUFFIXES  # takes longer than all else here

    return path.suffix.lower() in (*SUFFIXES, ".json")


def _data_file(path: Path) -> InputError:
    """What to do instead with a data file where a config is asked for."""
    if not path.is_file():
        return InputError(
            "is neither a config file nor there",
            path=path,
            remedy=f"Name a preset ({', '.join(names())}) and give data by --data",
        )
    molecules, label, measured = _guess_columns(path)
    preset = "property_gin" if len(molecules) == 1 else "distrans_mixtures"
    command = ["molrel", "train", preset, "--data", str(path)]
    command += ["--smiles-columns", *(molecules[:2] or ["COLUMN_A", "COLUMN_B"])]
    command += ["--label-column", label or "LABEL"]
    command += ["--data.kind", "regression"] if measured else []
    return InputError(
        "is a data file, not a config", path=path, remedy=f"For example: {shlex.join(command)}"
    )


def _guess_columns(path: Path) -> tuple[list[str], str | None, bool]:
    """(columns that hold SMILES, column of the label, whether that holds measured values), by
    the first rows of a file; none of a file that cannot be read."""
    from rdkit import Chem, rdBase

    from molrel.data.formats import read_table

    try:
        frame = read_table(path, ()).frame.head(20)
    except InputError:
        return [], None, False
    with rdBase.BlockLogs():
        molecules = [
            str(name)
            for name in frame
            if any(frame[name])
            and all(Chem.MolFromSmiles(text) is not None for text in frame[name] if text)
        ]
    others = [str(name) for name in frame if name not in molecules]
    usual = [name for name in others if name.lower() in ("label", "y", "target", "class", "value")]
    label = next(iter([*usual, *others[::-1]]), None)
    measured = label is not None and any(_is_measured(text) for text in frame[label])
    return molecules, label, measured


def _is_measured(text: str) -> bool:
    """Whether a label is a number, and none that classes are written as."""
    try:
        return math.isfinite(float(text)) and float(text) not in (-1, 0, 1)
    except ValueError:
        return False
