"""DisTrans: domain-adversarial training with structural-semantic transfer discrepancy.

A reconstruction. Of the paper (Zhang et al., SIGKDD 2026, arXiv 2605.16799) only the
abstract is public: graph and picture encoders, gradient reversal weighted by the
topological discrepancy of substructures, and guidance by functional groups across
domains. Every equation below is our own choice; docs/distrans.md lists what is known.

One batch, from integers to the loss:

    molecules -> GINE -> fragments (pool + one step on the fragment graph) -> z_graph
              -> picture encoder -> feature map -------------------------> z_picture
    z = gated fusion; fragments of the two sides attend to each other; symmetric head
    fragments -> R_lambda(type) -> fragment discriminator      (adversarial_fragment)
    z_ab      -> R_lambda       -> pair discriminator          (adversarial_pair)
    groups    -> prototypes of each domain (EMA)               (prototype, guidance)
    z_graph ~ z_picture                                        (agreement)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from molrel.collectives import share
from molrel.data.discrepancy import reversal_weights
from molrel.data.knowledge import DomainKnowledge
from molrel.errors import NotDefined
from molrel.fields import at
from molrel.losses import adversarial, alignment, confidence
from molrel.methods.batch import Batch
from molrel.methods.method import Context, LossOutput, Method, Params, State, active
from molrel.methods.networks import (
    TwoViewConfig,
    apply_network,
    from_network,
    outputs,
    supervise,
)
from molrel.nn.relation import side_mean
from molrel.nn.two_view import TwoViewNetwork

RECONSTRUCTION = (
    "DisTrans here is a reconstruction from the paper's abstract (arXiv 2605.16799); figures "
    "published on other data and splits are not comparable."
)
Weighting = Literal["uniform", "up", "down", "signed", "shuffled"]


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term beside the classification loss; 0 leaves a term out."""

    adversarial_fragment: float = 0.1
    adversarial_pair: float = 0.1
    prototype: float = 0.1
    guidance: float = 0.1
    agreement: float = 0.05
    entropy: float = 0.0


@dataclass(frozen=True)
class DisTransConfig(TwoViewConfig):
    """DisTrans on one encoder; with all weights 0 it is the source-only baseline."""

    notes: ClassVar[tuple[str, ...]] = (RECONSTRUCTION,)

    weights: LossWeights = field(default_factory=LossWeights)
    weighting: Weighting = "up"
    """How the reversal depends on the discrepancy of a fragment's type (uniform = DANN); for the
    control ``shuffled`` the discrepancies are dealt to the types anew, once for all seeds."""
    temperature: float = at(0.1, above=0, below=math.inf)
    """Of the guidance and agreement losses."""
    prototype_decay: float = at(0.95, least=0, below=1, static=True)
    prototype_ready: int = 20
    """Updates before a prototype is used."""
    permute_groups: bool = False
    """Control: each functional group of the target is taken for the one before it."""
    random_fragments: bool = False
    """Control: atoms are in random fragments of the sizes that BRICS gives. The fragments keep
    their types, and so the weights of the reversal."""
    bfloat16: bool = False
    """Compute matrix products in bfloat16 (accelerators); parameters stay float32."""

    @property
    def adapts(self) -> bool:
        """Whether anything looks at the target domain."""
        w = self.weights
        terms = (w.adversarial_fragment, w.adversarial_pair, w.prototype, w.guidance, w.entropy)
        return self.domain_statistics or any(active(term) for term in terms)

    def source_only(self) -> DisTransConfig:
        """The same encoder and head without any term that looks at the target. The agreement of
        graph and picture stays, for the source's molecules."""
        off = {"adversarial_fragment": 0.0, "adversarial_pair": 0.0, "prototype": 0.0}
        off |= {"guidance": 0.0, "entropy": 0.0}
        weights = replace(self.weights, **off)
        return replace(self, weights=weights, domain_statistics=False)

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
          NotDefined: predictions of a regression have no entropy.
        """
        if kind == "regression" and active(self.weights.entropy):
            raise NotDefined(
                "the entropy of predictions is not defined for a regression",
                remedy="Set method.weights.entropy to 0",
            )
        return distrans(self, knowledge, kind=kind, n_outputs=n_outputs, symmetric=symmetric)


def distrans(
    config: DisTransConfig,
    knowledge: DomainKnowledge | None,
    *,
    kind: str = "binary",
    n_outputs: int = 1,
    symmetric: bool = True,
) -> Method:
    """Builds the method.

    Args:
      config: sizes, weights and schedule.
      knowledge: label-free statistics of both domains; None is enough to predict.
      kind: of the task; decides the supervised loss.
      n_outputs: logits of an example.
      symmetric: whether f(a, b) = f(b, a).
    """
    network = TwoViewNetwork(
        **config.size(n_outputs, symmetric, jnp.bfloat16 if config.bfloat16 else None),
        random_fragments=config.random_fragments,
    )
    constants = _constants(config, knowledge)
    n_groups = len(constants["group_weight"])
    state = {
        "prototypes": np.zeros((2, n_groups, config.width), np.float32),
        "updates": np.zeros((2, n_groups), np.int32),
    }

    def loss(params, state, batch: Batch, context: Context) -> LossOutput:
        return _loss(config, network, constants, kind, params, state, batch, context)

    # Without groups there are no prototypes, and a checkpoint cannot hold empty arrays.
    return from_network(
        network,
        loss,
        target=config.adapts,
        apart=config.domain_statistics,
        state=state if n_groups else None,
    )


def _constants(config: DisTransConfig, knowledge: DomainKnowledge | None) -> dict[str, np.ndarray]:
    """kappa of each fragment type; of the functional groups: weight, which are nested, and what
    each is taken for in the target (itself, unless permuted)."""
    if knowledge is None:
        return {
            "kappa": np.ones(1, np.float32),
            "group_weight": np.zeros(0, np.float32),
            "exclude": np.zeros((0, 0), bool),
            "target_group": np.zeros(0, np.int32),
        }
    kappa = reversal_weights(knowledge.discrepancy, config.weighting)
    target_group = np.arange(len(knowledge.groups))
    if config.permute_groups:  # none stays in its place
        target_group = np.roll(target_group, 1)
    return {
        "kappa": np.asarray(kappa, np.float32),
        "group_weight": knowledge.group_weight,
        "exclude": knowledge.exclude,
        "target_group": target_group.astype(np.int32),
    }


def _loss(
    config: DisTransConfig,
    network: TwoViewNetwork,
    constants: dict[str, np.ndarray],
    kind: str,
    params: Params,
    state: State,
    batch: Batch,
    context: Context,
) -> LossOutput:
    """Sum of all terms, each this device's share; the order follows the module's sketch."""
    c, w, axis_name = config, config.weights, context.axis_name
    m = batch.molecules
    guided = (active(w.prototype) or active(w.guidance)) and constants["group_weight"].size > 0
    encoded, z_ab, logits, state = apply_network(
        network, params, state, batch, context, groups=guided
    )
    out = outputs(encoded, z_ab, logits)
    terms = {"supervised": supervise(kind, logits, batch, axis_name)}
    total = terms["supervised"]
    if active(w.agreement) and c.branches == "both":
        terms["agreement"] = alignment.info_nce(
            z_a=encoded.graph,
            z_b=encoded.picture,
            ids=m.ids,
            weight=batch.occurrences(0) + batch.occurrences(1),
            temperature=c.temperature,
            axis_name=axis_name,
        )
        total += w.agreement * terms["agreement"]
    if not c.adapts:
        return LossOutput(total, state, terms, out)

    rho = adversarial.reversal_progress(context.progress, c.warmup)
    if active(w.adversarial_fragment) or active(w.adversarial_pair):
        adversary = _adversarial(
            network, params, constants["kappa"], encoded, z_ab, batch, rho * c.reversal, axis_name
        )
        terms |= adversary
        total += w.adversarial_fragment * terms["adversarial_fragment"]
        total += w.adversarial_pair * terms["adversarial_pair"]
    if guided:
        state, found = _guidance(
            c, constants, alignment.l2_normalise(encoded.groups), state, batch, axis_name
        )
        terms |= found
        total += rho * (w.prototype * found["prototype"] + w.guidance * found["guidance"])
    if active(w.entropy):
        terms["entropy"] = confidence.prediction_entropy(
            kind=kind, logits=logits, weight=batch.in_domain(1), axis_name=axis_name
        )
        total += rho * w.entropy * terms["entropy"]
    return LossOutput(total, state, terms, out)


def _adversarial(network, params, kappa, encoded, z_ab, batch: Batch, strength, axis_name):
    """Fragment and pair discriminators behind reversals of strength lambda(p) kappa(type), with
    kappa of mean size 1 in the batch: weightings differ in where they reverse, not in how much."""
    m = batch.molecules
    kappa = jnp.asarray(kappa)[jnp.maximum(m.fragment_types, 0)]
    mask = m.fragment_mask.astype(kappa.dtype)
    kappa = kappa * mask
    per_molecule = kappa.sum(-1) / jnp.maximum(mask.sum(-1), 1)
    sides = [side_mean(per_molecule[:, None], side)[:, 0] for side in batch.sides]
    terms = {}
    for what, features, coefficient, occurrences in (
        (
            "fragment",
            encoded.fragments,
            kappa,
            [batch.occurrences(d)[:, None] * mask for d in (0, 1)],
        ),
        ("pair", z_ab, jnp.stack(sides).mean(axis=0), [batch.in_domain(d) for d in (0, 1)]),
    ):
        domains = {"source_weight": occurrences[0], "target_weight": occurrences[1]}
        reversal = strength * adversarial.mean_one(coefficient, **domains, axis_name=axis_name)
        judged = domains | {
            "logits": network.apply(
                {"params": params}, features, reversal[..., None], method=f"judge_{what}s"
            )
        }
        terms[f"adversarial_{what}"] = adversarial.domain_cross_entropy(
            **judged, axis_name=axis_name
        )
        terms[f"{what}_domain_accuracy"] = adversarial.domain_accuracy(
            **judged, axis_name=axis_name
        )
    return terms


def _guidance(config, constants, embedding, state, batch: Batch, axis_name):
    """Prototype and guidance losses of the functional groups, and the updated prototypes."""
    m = batch.molecules
    n_groups = len(constants["group_weight"])
    prototypes, updates = state["prototypes"], state["updates"]
    ready = updates >= config.prototype_ready
    means, present, weights = [], [], []
    permuted = jnp.asarray(constants["target_group"])[jnp.maximum(m.instance_group, 0)]
    groups = m.instance_group, jnp.where(m.instance_group < 0, -1, permuted)
    for d in (0, 1):
        occurrences = jnp.append(batch.occurrences(d), 0.0)
        weights.append(occurrences[m.instance_molecule])
        sums, counts = alignment.prototype_sums(
            embedding, groups[d], weights[d], n_groups, axis_name
        )
        mean, found = alignment.prototype_means(sums, counts)
        means.append(mean)
        present.append(found)
    terms = {
        "prototype": alignment.prototype_loss(
            mean_s=means[0],
            mean_t=means[1],
            present_s=present[0],
            present_t=present[1],
            ema_s=prototypes[0],
            ema_t=prototypes[1],
            ready_s=ready[0],
            ready_t=ready[1],
            group_weight=jnp.asarray(constants["group_weight"]),
            axis_name=axis_name,
        ),
        # Source prototypes guide target molecules, and the other way round.
        "guidance": sum(
            alignment.guidance_loss(
                embedding=embedding,
                group=groups[d],
                weight=weights[d],
                prototypes=prototypes[1 - d],
                ready=ready[1 - d],
                exclude=jnp.asarray(constants["exclude"]),
                temperature=config.temperature,
                axis_name=axis_name,
            )
            for d in (0, 1)
        ),
    }
    new = [
        alignment.update_prototypes(
            prototypes=prototypes[d],
            counts_seen=updates[d],
            batch_mean=means[d],
            present=present[d],
            decay=config.prototype_decay,
        )
        for d in (0, 1)
    ]
    state = state | {
        "prototypes": jnp.stack([p for p, _ in new]),
        "updates": jnp.stack([n for _, n in new]),
    }
    cosine = jnp.sum(state["prototypes"][0] * state["prototypes"][1], axis=-1)
    both = (ready[0] & ready[1]).astype(jnp.float32)
    terms["prototype_cosine"] = share(
        jax.lax.stop_gradient(jnp.sum(cosine * both) / jnp.maximum(both.sum(), 1)), axis_name
    )
    return state, terms
