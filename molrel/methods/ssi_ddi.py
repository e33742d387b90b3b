"""SSI-DDI: substructure-substructure interactions (Nyamabo, Yu & Shi, Brief. Bioinform. 2021).

The network, and where it differs from the published one, is in ``molrel.nn.ssi_ddi``. The
widths are those of the authors' code: four blocks of two heads with 32 features each.
"""

from __future__ import annotations

from dataclasses import dataclass

from molrel.data.knowledge import DomainKnowledge
from molrel.errors import InputError
from molrel.fields import at
from molrel.methods.method import Method, SourceOnlyConfig
from molrel.methods.networks import source_only_method
from molrel.nn.ssi_ddi import SSIDDINetwork


@dataclass(frozen=True)
class SSIDDIConfig(SourceOnlyConfig):
    """SSI-DDI, trained on the source alone."""

    width: int = at(64, least=1, most=2**16)
    """Width of atoms and readouts; a multiple of ``heads``."""
    blocks: int = 4
    """Graph attention blocks, and so readouts of a molecule."""
    heads: int = 2
    """Attention heads of a block."""

    def __post_init__(self):
        if min(self.blocks, self.heads) < 1 or self.width < 2 or self.width % self.heads:
            raise InputError(
                f"SSI-DDI cannot have width {self.width}, {self.blocks} blocks, {self.heads} heads",
                remedy="It needs a block and a head, and a width that is a multiple of heads.",
            )

    def build(
        self, knowledge: DomainKnowledge | None, *, kind: str, n_outputs: int, symmetric: bool
    ) -> Method:
        """See ``MethodConfig``."""
        network = SSIDDINetwork(self.width, self.blocks, self.heads, n_outputs, symmetric)
        return source_only_method(network, kind)
