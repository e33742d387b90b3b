"""The one training step of the package, and the ways to compile it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from molrel.collectives import fold_in_device, reduce
from molrel.data.batches import IndexBatch
from molrel.data.table import MoleculeTable
from molrel.methods.batch import gather_batch
from molrel.methods.method import Context, Method
from molrel.train.settings import SeedsMode

DEVICES = "devices"


@flax.struct.dataclass
class TrainState:
    """Everything that a step reads and writes.

    Attributes:
      params: trained by gradient.
      state: the method's other variables.
      opt_state: optax state.
      step: int32 [], updates done.
      key: typed PRNG key of the seed; each step folds its number in.
      options: float32 [] each, settings of this run that vary between runs of one program.
    """

    params: Any
    state: Any
    opt_state: Any
    step: Int[Array, ""]
    key: Array
    options: dict[str, Array] = flax.struct.field(default_factory=dict)


Vary = Callable[[dict[str, Array]], tuple[Method, optax.GradientTransformation]]
Step = Callable[[TrainState, MoleculeTable, IndexBatch], tuple[TrainState, dict[str, Array]]]


def make_step(
    method: Method,
    optimiser: optax.GradientTransformation,
    *,
    steps: int,
    axis_name: str | None = None,
    vary: Vary | None = None,
) -> Step:
    """Builds ``step(train_state, table, batch) -> (train_state, terms)``.

    gather -> loss -> gradient -> sum over devices -> update. Losses are shares, so the one
    reduction is a plain sum, and D devices with a D-th of the examples each give the update
    of one device with all of them.

    Args:
      method: what is trained.
      optimiser: optax transformation.
      steps: number of steps of the run; progress = step / steps.
      axis_name: device axis, or None on a single device.
      vary: method and optimiser from the options of a run, in place of the fixed ones; they
        must have the same parameters and optimiser state. Options are arrays, so runs that
        differ in them share one program.
    """

    def step(train_state: TrainState, table: MoleculeTable, batch: IndexBatch):
        used, update = (method, optimiser) if vary is None else vary(train_state.options)
        key = fold_in_device(jax.random.fold_in(train_state.key, train_state.step), axis_name)
        progress = jnp.minimum(train_state.step / steps, 1.0)
        context = Context(key, progress, train_state.step, axis_name)
        gathered = gather_batch(table, batch)

        def objective(params):
            found = used.loss(params, train_state.state, gathered, context)
            return found.loss, (found.state, found.terms)

        (total, (state, terms)), grads = jax.value_and_grad(objective, has_aux=True)(
            train_state.params
        )
        grads, terms = reduce((grads, {"total": total, **terms}), axis_name)
        # optax raises Python's numbers to the power of integer arrays.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = update.update(grads, train_state.opt_state, train_state.params)
        params = optax.apply_updates(train_state.params, updates)
        terms["gradient_norm"] = optax.tree.norm(grads)
        new = train_state.replace(  # pyright: ignore[reportAttributeAccessIssue]
            params=params, state=state, opt_state=opt_state, step=train_state.step + 1
        )
        return new, terms

    return step


def init_state(
    method: Method,
    optimiser: optax.GradientTransformation,
    table: MoleculeTable,
    batch: IndexBatch,
    seed: Int[Array, ""],
) -> TrainState:
    """Initial state of one seed; a pure function, so it can be mapped over seeds."""
    init_key, key = jax.random.split(jax.random.key(seed))
    variables = method.init(init_key, gather_batch(table, batch))
    return TrainState(
        variables.params,
        variables.state,
        optimiser.init(variables.params),
        jnp.zeros((), jnp.int32),
        key,
    )


def stack(trees: Sequence[Any]) -> Any:
    """Stacks pytrees along a new leading (seed) axis; typed keys included."""
    return jax.tree.map(lambda *xs: jnp.stack(xs), *trees)


def unstack(tree: Any, index: int) -> Any:
    """Seed ``index`` of a stacked pytree."""
    return jax.tree.map(lambda x: x[index], tree)


def resolve_seeds_mode(mode: SeedsMode) -> Literal["vmap", "loop"]:
    """``auto`` is vmap on an accelerator and loop on a CPU, where batched small matrix
    products make the vmapped program no faster than one seed after the other."""
    if mode == "auto":
        return "loop" if jax.default_backend() == "cpu" else "vmap"
    return mode


class Program(NamedTuple):
    """The compiled step of all seeds, and the form in which it carries their states.

    Attributes:
      init: (seed, table, batch of one device and seed) -> state of one seed.
      enter: (stacked states [S, ...], table of one device) -> (carried states, table of all
        devices of the step).
      step: (carried, entered table, batch [S, ...] or [D, S, ...]) -> (carried, terms [S]). The
        carried states are donated: the caller must not use them again.
      leave: carried states -> stacked states.
    """

    init: Callable[[Int[Array, ""], MoleculeTable, IndexBatch], TrainState]
    enter: Callable[[TrainState, MoleculeTable], tuple[Any, MoleculeTable]]
    step: Callable[[Any, MoleculeTable, IndexBatch], tuple[Any, dict[str, Array]]]
    leave: Callable[[Any], TrainState]


def compile_step(
    method: Method,
    optimiser: optax.GradientTransformation,
    *,
    steps: int,
    n_devices: int = 1,
    mode: SeedsMode = "auto",
    vary: Vary | None = None,
) -> Program:
    """The step for all seeds and devices at once; both modes give the same numbers.

    Args:
      n_devices: of all processes; 1 compiles with jit, more with pmap over them.
      mode: how the seeds are run. ``vmap`` carries stacked states, ``loop`` a list of them:
        one seed's donated buffers are then used again from step to step, and nothing new is
        placed in the hole that the temporaries of a step leave.
      vary: see ``make_step``.
    """
    axis = DEVICES if n_devices > 1 else None
    step = make_step(method, optimiser, steps=steps, axis_name=axis, vary=vary)
    init = jax.jit(lambda seed, table, batch: init_state(method, optimiser, table, batch, seed))
    # On several hosts each process has the devices of its own, and the step is over all.
    devices = jax.local_devices()[:n_devices]
    if resolve_seeds_mode(mode) == "vmap":
        mapped = _compile(jax.vmap(step, in_axes=(0, None, 0)), devices, n_devices)
        return Program(
            init,
            lambda *placed: _replicate(placed, devices, n_devices),
            mapped,
            lambda states: states,
        )
    single = _compile(step, devices, n_devices)
    # Compiled, because hundreds of leaves would each be sliced by a program of their own.
    split = jax.jit(lambda states: [unstack(states, i) for i in range(len(states.step))])
    join = jax.jit(stack)

    def enter(states, table):
        return _replicate((split(states), table), devices, n_devices)

    def loop(states, table, batch):
        results = []
        for i, state in enumerate(states):
            results.append(single(state, table, _seed_of(batch, i, n_devices)))
            # Seeds do not depend on one another, so without waiting they would run, and
            # hold their temporaries, all at once.
            jax.block_until_ready(results[-1])
        return [r[0] for r in results], join([r[1] for r in results])

    return Program(init, enter, loop, join)


def _seed_of(batch: IndexBatch, index: int, n_devices: int) -> IndexBatch:
    return jax.tree.map(lambda x: x[:, index] if n_devices > 1 else x[index], batch)


def _compile(step: Step, devices: Sequence[Any], n_devices: int) -> Step:
    """jit on one device; pmap with replicated, un-stacked state and table on several."""
    if n_devices == 1:
        return jax.jit(step, donate_argnums=0)
    return jax.pmap(
        step,
        axis_name=DEVICES,
        in_axes=(None, None, 0),
        out_axes=None,  # pyright: ignore[reportArgumentType]
        devices=devices if len(devices) == n_devices else None,  # None: those of all processes
        donate_argnums=0,
    )


def _replicate(tree: Any, devices: Sequence[Any], n_devices: int) -> Any:
    """The tree on every device of this process; the same buffers where it already is.

    What a step finds on one device alone it copies to all the others, each time anew.
    """
    if n_devices == 1:
        return tree
    return jax.device_put(tree, NamedSharding(Mesh(devices, (DEVICES,)), PartitionSpec()))
