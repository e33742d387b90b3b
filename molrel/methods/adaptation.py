"""Published ways of adapting to a domain, all on the encoder and the head of DisTrans.

DANN: Ganin et al., JMLR 2016. CDAN and CDAN+E: Long et al., NeurIPS 2018. MK-MMD (DAN): Long et
al., ICML 2015. Deep CORAL: Sun & Saenko, ECCV workshops 2016. MCC: Jin et al., ECCV 2020. Entropy
minimisation: Grandvalet & Bengio, NeurIPS 2004.

    L = supervised(source) + weight * alignment(source, target)

The alignment sees the pair features z_ab and the logits, nothing else. Where this differs from
the papers, beside the docstrings of ``molrel.losses.confidence`` and ``molrel.losses.moments``:

* molecules and pairs in place of pictures, so there is no pre-trained network below, and one
  learning rate for all layers;
* features are aligned in one layer, z_ab; DAN aligns several layers and the logits as well;
* discriminators have LayerNorm, two hidden layers and no dropout; each domain counts for one
  half of their loss, whatever its share of the batch;
* CDAN's prediction and the entropy weights of CDAN+E are constants for differentiation, as in the
  Transfer-Learning-Library; in the paper's code the latter pass a reversed gradient;
* a regression has no class probabilities. CDAN is then conditioned on [1, prediction]; CDAN+E,
  MCC and entropy minimisation are not defined;
* after a warm-up, the schedule of Ganin et al. for every alignment: on the reversal of the
  discriminators, which themselves learn at full rate from the start, on the weight of others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from molrel.data.knowledge import DomainKnowledge
from molrel.errors import NotDefined
from molrel.losses import adversarial, confidence, moments
from molrel.methods.batch import Batch
from molrel.methods.method import Context, LossOutput, Method, active
from molrel.methods.networks import (
    TwoViewConfig,
    apply_network,
    from_network,
    outputs,
    source_only_method,
    supervise,
)
from molrel.nn.gradient_reversal import reverse_gradient
from molrel.nn.graph import Molecules
from molrel.nn.relation import MLP, Sides
from molrel.nn.two_view import TwoViewNetwork

Alignment = Literal["dann", "cdan", "cdan_e", "mk_mmd", "coral", "mcc", "entropy"]
NEEDS_CLASSES = ("mcc", "entropy", "cdan_e")


@dataclass(frozen=True)
class AdaptationConfig(TwoViewConfig):
    """One alignment of the domains; with weight 0 it is the source-only baseline."""

    alignment: Alignment = "dann"
    weight: float = 1.0
    """Of the alignment beside the supervised loss. 1 in the papers of DANN, CDAN and MCC; that
    of CORAL picks it so that both losses end up of one size; entropies often have 0.1."""

    @property
    def adapts(self) -> bool:
        """Whether anything looks at the target domain."""
        return active(self.weight) or self.domain_statistics

    def source_only(self) -> AdaptationConfig:
        """The same encoder and head without any term that looks at the target."""
        return replace(self, weight=0.0, domain_statistics=False)

    def build(
        self,
        knowledge: DomainKnowledge | None,
        *,
        kind: str = "binary",
        n_outputs: int = 1,
        symmetric: bool = True,
    ) -> Method:
        """See ``MethodConfig``.

        Raises:
          NotDefined: the alignment needs classes and the task is a regression.
        """
        size = self.size(n_outputs, symmetric)
        network = TwoViewNetwork(**size)
        apart = self.domain_statistics
        if not active(self.weight):
            return source_only_method(network, kind, apart=apart)
        if self.alignment in ("cdan", "cdan_e"):
            network = ConditionalNetwork(**size, kind=kind)
        if kind == "regression" and self.alignment in NEEDS_CLASSES:
            raise NotDefined(
                f"the alignment {self.alignment!r} is not defined for a regression, which has "
                "no class probabilities",
                remedy="Choose dann, cdan, mk_mmd or coral",
            )

        def loss(params, state, batch: Batch, context: Context) -> LossOutput:
            axis_name = context.axis_name
            encoded, z_ab, logits, state = apply_network(network, params, state, batch, context)
            supervised = supervise(kind, logits, batch, axis_name)
            rho = adversarial.reversal_progress(context.progress, self.warmup)
            terms = {"supervised": supervised}
            if self.alignment in ("dann", "cdan", "cdan_e"):
                domain_logits, weights = self._judge(
                    network, params, kind, z_ab, logits, batch, rho * self.reversal, axis_name
                )
                judged = {
                    "logits": domain_logits,
                    "source_weight": weights[0],
                    "target_weight": weights[1],
                }
                term = adversarial.domain_cross_entropy(**judged, axis_name=axis_name)
                terms["domain_accuracy"] = adversarial.domain_accuracy(
                    **judged, axis_name=axis_name
                )
                total = supervised + self.weight * term
            else:
                term = _match(self.alignment, kind, z_ab, logits, batch, axis_name)
                total = supervised + rho * self.weight * term
            terms[self.alignment] = term
            return LossOutput(total, state, terms, outputs(encoded, z_ab, logits))

        return from_network(network, loss, target=True, apart=apart)

    def _judge(self, network, params, kind, z_ab, logits, batch: Batch, strength, axis_name):
        """Domain logits [P], and the weights of the examples in each domain."""
        weights = [batch.in_domain(d) for d in (0, 1)]
        if self.alignment == "dann":
            return network.apply({"params": params}, z_ab, strength, method="judge_pairs"), weights
        if self.alignment == "cdan_e":
            weights = [
                confidence.entropy_weights(kind=kind, logits=logits, weight=w, axis_name=axis_name)
                for w in weights
            ]
        joint = confidence.conditional_features(
            kind=kind, logits=logits, features=z_ab, mask=batch.mask
        )
        domain_logits = network.apply({"params": params}, joint, strength, method="judge_joint")
        return domain_logits, weights


class ConditionalNetwork(TwoViewNetwork):
    """``TwoViewNetwork`` with the discriminator of CDAN, on features joined with a prediction."""

    kind: str = "binary"

    def setup(self):
        super().setup()
        hidden = (self.discriminator_width, self.discriminator_width, 1)
        self.joint_discriminator = MLP(hidden, norm=True)

    def judge_joint(self, joint: Array, coefficient: Array) -> Float[Array, " p"]:
        """Domain logits of ``confidence.conditional_features`` behind the reversal."""
        return self.joint_discriminator(reverse_gradient(joint, coefficient))[..., 0]

    def __call__(self, m: Molecules, sides: Sides) -> Array:
        """Touches every part that is used, to initialise it."""
        z_ab, logits = self.relate(self.encode(m), sides)
        joint = confidence.conditional_features(
            kind=self.kind, logits=logits, features=z_ab, mask=jnp.ones(len(z_ab), bool)
        )
        self.judge_joint(joint, jnp.ones(()))
        return logits


def _match(alignment: Alignment, kind: str, z_ab, logits, batch: Batch, axis_name):
    """Share of an alignment that needs no discriminator."""
    source, target = (batch.in_domain(d) for d in (0, 1))
    if alignment in ("mcc", "entropy"):
        found = {
            "mcc": confidence.minimum_class_confusion,
            "entropy": confidence.prediction_entropy,
        }[alignment]
        return found(kind=kind, logits=logits, weight=target, axis_name=axis_name)
    found = {"mk_mmd": moments.mk_mmd, "coral": moments.deep_coral}[alignment]
    return found(features=z_ab, source_weight=source, target_weight=target, axis_name=axis_name)
