"""TopExpert: topology-specific experts behind a clustering gate.

Kim et al., "Learning Topology-Specific Experts for Molecular Property Prediction" (AAAI 2023),
after the authors' released code (github.com/kimsu55/ToxExpert). One graph network, K linear
experts for each target, and a gate that assigns each example softly to K clusters:

    L = L_experts + 0.1 L_clustering + 0.01 L_alignment        (``molrel.losses.experts``)

In training the experts are weighted by Gumbel-softmax draws from the assignment q, at test by q
itself, and their *probabilities* are mixed. The target of the clustering comes from a pass of
its own, with other dropout. Centroids start from k-means over the untrained network's gate
embeddings of all training examples, in training mode.

Two recipes: the release holds the Gumbel temperature at 10, where the draws are nearly uniform
and experts see nearly the same; its first commit let it fall from 10 to 0.1 (``temperature``,
``final_temperature``), with 0.1 as the weight of the alignment.

Where this differs from the release:

* BatchNorm remembers the statistics of one of the two passes of a step, theirs of both;
* the temperature of a step is that before the step's decay, theirs that after it;
* we add regression (squared error, and predictions in place of probabilities), which the original
  lacks; several classes are not defined;
* an example of two molecules, which theirs does not have, shows the gate the atoms of both, and
  is aligned with the mean of the embeddings of its molecules' scaffolds. With one molecule both
  are what they were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from molrel.data.batches import IndexBatch
from molrel.data.knowledge import DomainKnowledge
from molrel.data.table import MoleculeTable
from molrel.errors import NotDefined
from molrel.fields import at
from molrel.losses import experts as losses
from molrel.methods.batch import Batch, gather_batch
from molrel.methods.method import (
    Context,
    LossOutput,
    Method,
    Need,
    Params,
    State,
    Variables,
    active,
)
from molrel.methods.networks import (
    MoleculeNetworkConfig,
    add_terms,
    apply_with_statistics,
    from_network,
    statistics,
)
from molrel.nn.experts import ExpertNetwork
from molrel.nn.relation import Sides, side_mean

MOST_POINTS = 35_000


@dataclass(frozen=True)
class ExpertWeights:
    """Weights of the gate's terms beside the supervised one."""

    clustering: float = 0.1
    alignment: float = 0.01


@dataclass(frozen=True)
class TopExpertConfig(MoleculeNetworkConfig):
    """Experts behind a gate, as released, on the graph network."""

    experts: int = at(3, least=1, most=2**16)
    gate: Literal["learned", "equal", "random"] = "learned"
    """equal: every expert has the same weight. random: each training example has one expert for
    good, drawn without looking at it, and all have the same weight at test. Both are controls
    without clusters."""
    gate_width: int = at(50, least=1, most=2**16)
    temperature: float = at(10.0, above=0, below=math.inf)
    """Of the Gumbel draws in the first step."""
    final_temperature: float = at(10.0, above=0, below=math.inf)
    """And in the last; geometric between them."""
    weights: ExpertWeights = field(default_factory=ExpertWeights)
    fan: Literal["released", "inputs"] = "released"
    """What bounds the experts' initial values, 1 / sqrt(fan): the released code takes the
    number of outputs by mistake, ``inputs`` is PyTorch's usual width."""

    @property
    def needs(self) -> frozenset[Need]:
        """Scaffolds of the training molecules, where they are aligned."""
        aligned = self.gate == "learned" and active(self.weights.alignment)
        return frozenset({"scaffolds"} if aligned else set())

    def build(
        self, knowledge: DomainKnowledge | None, *, kind: str, n_outputs: int, symmetric: bool
    ) -> Method:
        """See ``MethodConfig``.

        Raises:
          NotDefined: for a multiclass task.
        """
        if kind == "multiclass":
            raise NotDefined("TopExpert mixes probabilities of yes/no targets, not of classes")
        return topexpert(self, self.network(n_outputs, symmetric), kind)

    def network(self, n_outputs: int, symmetric: bool) -> ExpertNetwork:
        """The network for a task."""
        fan = n_outputs * self.experts if self.fan == "released" else self.width
        body = self.body(n_outputs, symmetric)
        return ExpertNetwork(body, n_outputs, self.experts, self.gate_width, 1 / math.sqrt(fan))


class Gated(NamedTuple):
    """What the gate and the experts say of P examples.

    Attributes:
      logits: f32 [P, T, K] of every expert.
      z: f32 [P, Z], gate embedding.
      q: f32 [P, K], assignment.
    """

    logits: Float[Array, "p t k"]
    z: Float[Array, "p z"]
    q: Float[Array, "p k"]


def look(
    config: TopExpertConfig,
    network: ExpertNetwork,
    params: Params,
    state: State,
    encoded: Any,
    sides: Sides,
) -> Gated:
    """Experts and assignment of examples as they are at test; equal without a learned gate."""
    variables = {"params": params} | statistics(state)
    related: Any = network.apply(variables, encoded, sides, method="relate")
    logits, z = related
    q = losses.student_t_assignment(z, params["centroids"])
    if config.gate != "learned":
        q = jnp.full_like(q, 1 / config.experts)
    return Gated(logits, z, q)


def topexpert(config: TopExpertConfig, network: ExpertNetwork, kind: str) -> Method:
    """The method that trains the network with the losses of TopExpert."""
    learned = config.gate == "learned"
    aligned = "scaffolds" in config.needs

    def forward(params: Params, state: State, batch: Batch, key: Array, axis_name: str | None):
        """(logits of every expert, gate embedding, state with new running averages)."""
        # A molecule counts in BatchNorm as often as it occurs.
        weight = batch.occurrences(0) + batch.occurrences(1)
        inputs = batch.molecules, batch.sides, weight, batch.mask
        (logits, z), state = apply_with_statistics(
            network, params, state, key, *inputs, axis_name=axis_name
        )
        return logits, z, state

    def init(key: Array, batch: Batch) -> Variables:
        network_key, scaffold_key = jax.random.split(key)
        params, state = base.init(network_key, batch)
        if aligned:
            shape = max(1, batch.molecules.n_scaffolds), config.gate_width
            normal = jax.nn.initializers.xavier_normal()
            params = {**params, "scaffolds": normal(scaffold_key, shape)}
        return Variables(params, state)

    @jax.jit
    def gate_embedding(variables: Variables, table: MoleculeTable, batch: IndexBatch, key: Array):
        return forward(*variables, gather_batch(table, batch), key, None)[1]

    def start(
        key: Array, variables: Variables, table: MoleculeTable, batches: Sequence[IndexBatch]
    ) -> Variables:
        def seen(batch: IndexBatch, number: int) -> np.ndarray:
            own = jax.random.fold_in(key, number)
            return np.asarray(gate_embedding(variables, table, batch, own))[batch.mask]

        points = np.concatenate([seen(batch, i) for i, batch in enumerate(batches)])
        some = np.random.default_rng(0).permutation(len(points))[:MOST_POINTS]
        found = KMeans(config.experts, n_init=10, random_state=0)  # pyright: ignore[reportArgumentType]
        # Several threads add up in the order in which they finish: not the same twice.
        with threadpool_limits(1):
            found.fit(points[np.sort(some)])
        centroids = jnp.asarray(found.cluster_centers_, jnp.float32)
        return variables._replace(params={**variables.params, "centroids": centroids})

    def loss(params: Params, state: State, batch: Batch, context: Context) -> LossOutput:
        axis_name = context.axis_name
        target_key, key, noise_key = jax.random.split(context.key, 3)
        logits, z, new_state = forward(params, state, batch, key, axis_name)
        terms, real = {}, batch.labelled > 0
        if learned:
            before = forward(jax.lax.stop_gradient(params), state, batch, target_key, axis_name)[1]
            centroids = params["centroids"]
            p = losses.sharpened_target(
                losses.student_t_assignment(before, centroids), real, axis_name
            )
            q = losses.student_t_assignment(z, centroids)
            fall = config.final_temperature / config.temperature
            gate = losses.gumbel_softmax(noise_key, q, config.temperature * fall**context.progress)
            terms["clustering"] = losses.clustering_loss(p, q, real, axis_name)
            if aligned:
                own = scaffold_embeddings(params["scaffolds"], batch)
                terms["alignment"] = losses.alignment_loss(q, own, centroids, real, axis_name)
        else:
            gate = fixed_gate(config, batch)
        supervised = losses.expert_loss(
            elementwise(kind, logits, batch.labels),
            gate * batch.weight[:, None],
            real[:, None] & ~jnp.isnan(batch.labels),
            axis_name,
        )
        total, terms = add_terms(supervised, [terms], config.weights)
        out = {"gate/z": z, "gate/weights": gate, "expert/logits": logits}
        return LossOutput(total, new_state, terms, out)

    def predict(params: Params, state: State, encoded: Any, sides: Sides) -> Float[Array, "p t"]:
        found = look(config, network, params, state, encoded, sides)
        return mix(kind, found.logits, found.q)

    base = from_network(network, loss, target=False)
    return base._replace(init=init, predict=predict, start=start if learned else None)


def scaffold_embeddings(table: Float[Array, "s z"], batch: Batch) -> Float[Array, "p z"]:
    """Mean over the molecules of each example of the embedding of their scaffold."""
    assert batch.molecules.scaffold is not None
    # Only training molecules are trained on, and they all have a number.
    own = table[jnp.maximum(batch.molecules.scaffold, 0)]
    everything = jnp.concatenate(batch.sides, axis=1)
    return side_mean(own, everything)


def fixed_gate(config: TopExpertConfig, batch: Batch) -> Float[Array, "p k"]:
    """Weights of the experts that look at nothing of the examples."""
    n = len(batch.mask)
    if config.gate == "equal":
        return jnp.full((n, config.experts), 1 / config.experts)
    ids = batch.molecules.ids.astype(jnp.uint32) + 1
    mixed = (ids * jnp.uint32(2654435761)) >> 16
    drawn = sum(mixed[side[:, 0]] for side in batch.sides) % jnp.uint32(config.experts)
    return jax.nn.one_hot(drawn, config.experts)


def elementwise(
    kind: str, logits: Float[Array, "p t k"], labels: Float[Array, "p t"]
) -> Float[Array, "p t k"]:
    """Loss of every expert for every label; of any value where the label is unknown."""
    known = jnp.broadcast_to(jnp.where(jnp.isnan(labels), 0, labels)[..., None], logits.shape)
    if kind == "regression":
        return jnp.square(logits - known)
    return optax.losses.sigmoid_binary_cross_entropy(logits, known)


def mix(kind: str, logits: Float[Array, "p t k"], q: Float[Array, "p k"]) -> Float[Array, "p t"]:
    """Logit of sum_k q_k sigmoid(l_k), or sum_k q_k l_k of a regression."""
    if kind == "regression":
        return jnp.einsum("ptk,pk->pt", logits, q)
    weight = jnp.log(q)[:, None]
    positive = jax.nn.logsumexp(weight + jax.nn.log_sigmoid(logits), axis=-1)
    negative = jax.nn.logsumexp(weight + jax.nn.log_sigmoid(-logits), axis=-1)
    return positive - negative
