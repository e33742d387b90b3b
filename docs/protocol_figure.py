"""Draws images/protocol.png, the picture in the README: what is learned from, what is scored.

python docs/protocol_figure.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from rdkit import Chem
from rdkit.Chem import Draw

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch  # noqa: E402

OUT = Path(__file__).parent / "images" / "protocol.png"
BLUE, ORANGE, GREY = "#3b6ea8", "#c8702a", "#6b6b6b"
SOURCE = [("CCCCCC", "c1ccccc1", "1"), ("C1CCCCC1", "CC=CC", "0")]
TARGET = [
    ("c1ccccc1", "C1CCCCC1", "seen–seen"),
    ("CCCCCC", "CCO", "seen–new"),
    ("CCS", "CC(=O)O", "new–new"),
]


def drawn(smiles: str) -> np.ndarray:
    """A picture of a molecule on a transparent ground."""
    image = Draw.MolToImage(Chem.MolFromSmiles(smiles), size=(280, 180)).convert("RGBA")
    pixels = np.array(image)
    pixels[(pixels[..., :3] > 250).all(axis=-1), 3] = 0
    return np.array(Image.fromarray(pixels))


def pair(ax: Axes, x: float, y: float, a: str, b: str, words: str, colour: str) -> None:
    """Two molecules side by side, and what is known of them."""
    for place, smiles in ((x, a), (x + 1.45, b)):
        ax.imshow(drawn(smiles), extent=(place, place + 1.3, y, y + 0.84), aspect="auto", zorder=3)
    ax.text(x + 1.38, y + 0.42, "+", ha="center", va="center", fontsize=13, color=GREY)
    ax.text(x + 3.0, y + 0.42, words, va="center", fontsize=11, color=colour)


def box(ax: Axes, x: float, width: float, title: str, below: str, colour: str) -> None:
    """A domain."""
    ax.add_patch(
        FancyBboxPatch((x, 0.55), width, 3.5, boxstyle="round,pad=0.08", fc="w", ec=colour, lw=2)
    )
    ax.text(x + width / 2, 3.72, title, ha="center", fontsize=13, color=colour, weight="bold")
    ax.text(x + width / 2, 0.2, below, ha="center", va="center", fontsize=10.5, color=GREY)


def main() -> None:
    """Writes the picture."""
    figure, ax = plt.subplots(figsize=(11, 4.3), dpi=150)
    ax.set_xlim(0, 11.4)
    ax.set_ylim(-0.15, 4.35)
    ax.axis("off")
    box(ax, 0.15, 4.15, "source domain", "train · valid (selection) · test", BLUE)
    box(ax, 6.3, 4.95, "target domain", "seen without labels; scored stratum by stratum", ORANGE)
    for row, (a, b, label) in enumerate(SOURCE):
        pair(ax, 0.35, 2.3 - 1.25 * row, a, b, f"label {label}", BLUE)
    for row, (a, b, stratum) in enumerate(TARGET):
        pair(ax, 6.45, 2.68 - 0.98 * row, a, b, stratum, ORANGE)
    ax.add_patch(
        FancyArrowPatch((4.5, 2.3), (6.15, 2.3), arrowstyle="-|>", mutation_scale=22, color=GREY)
    )
    ax.text(5.32, 2.62, "adapt, predict", ha="center", fontsize=11, color=GREY)
    ax.text(5.32, 1.95, "no target label", ha="center", fontsize=10.5, color=GREY)
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT, bbox_inches="tight", facecolor="white")


if __name__ == "__main__":
    main()
