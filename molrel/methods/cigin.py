"""CIGIN: chemically interpretable graph interaction network (Pathak et al., AAAI 2020).

Atoms of the two molecules meet in an interaction map before anything is pooled. The version
here is the one that CGIB and CMRL build on and compare with, trained on the source's labels
alone. Where it differs from the paper and its code, beside the list in
``molrel.nn.interaction``:

* atoms are brought to length 1 and the map is their plain product, as in the code of CGIB; the
  code of CIGIN takes tanh of the product of atoms of any length;
* three message-passing steps, where CIGIN has six;
* the code adds 1e-4 times the norm of the interaction map to the loss: left out, as it is in
  CGIB and CMRL.
"""

from __future__ import annotations

from dataclasses import dataclass

from molrel.data.knowledge import DomainKnowledge
from molrel.fields import at
from molrel.methods.method import Method, SourceOnlyConfig
from molrel.methods.networks import source_only_method
from molrel.nn.interaction import Gather, InteractionNetwork


@dataclass(frozen=True)
class CIGINConfig(SourceOnlyConfig):
    """CIGIN, trained on the source alone."""

    width: int = at(64, least=1, most=2**16)
    """Width of atoms."""
    depth: int = at(3, least=1, most=1000)
    """Message-passing layers."""
    dropout: float = at(0.0, least=0, below=1, static=True)
    """On the pair features."""
    gather: Gather = "sum"
    """What an atom takes of the partner's atoms: their sum, as published, grows with the
    partner; their mean shows no size, and tells how much of a figure is size."""

    def build(
        self, knowledge: DomainKnowledge | None, *, kind: str, n_outputs: int, symmetric: bool
    ) -> Method:
        """See ``MethodConfig``."""
        network = InteractionNetwork(
            self.width, self.depth, n_outputs, symmetric, self.dropout, self.gather
        )
        return source_only_method(network, kind)
