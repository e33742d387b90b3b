"""What holds for every test: strict shapes, kept compilations, public data only where it is."""

from __future__ import annotations

import gc
import os
import signal
from importlib.metadata import version
from pathlib import Path

from molrel.memory import enable_compilation_cache

# Before JAX is imported, as it asks for. Most of the time goes into compiling programs that run
# for milliseconds, which takes less than half of the time with these settings.
enable_compilation_cache()
_FLAGS = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
if version("jaxlib") < "0.11":  # later versions end the process at a flag that they lack
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(_FLAGS))

# A copy of the public data sets beside the checkout serves where none is named.
_STAGED = Path(__file__).resolve().parents[2] / "shared" / "data"
if _STAGED.is_dir():
    os.environ.setdefault("MOLREL_DATA", str(_STAGED))

# Traces are many and live long: looking through them all for what can be freed costs a tenth.
gc.set_threshold(200_000, 50, 1000)

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
import typecheck  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

typecheck.install()

# A session in the background may ignore Ctrl-C, and so would the processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Adding [n] to [n, 1] is nearly always a mistake, and a silent one.
jax.config.update("jax_numpy_rank_promotion", "raise")
# So is mixing numbers of different kinds. What flax and optax do inside is theirs.
jax.config.update("jax_numpy_dtype_promotion", "strict")

# A first call may compile for seconds. In CI the same examples are tried every time, so that a
# failure is due to the change under test.
settings.register_profile(
    "molrel",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("molrel")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests that need public data where MOLREL_DATA names none; they count as skipped.

    The long files come first, so that no process is left alone with them at the end.
    """
    from molrel.data.catalog import data_folder

    items.sort(key=lambda item: not {"train", "benchmarks", "methods"} & {*item.path.parts})
    folder = data_folder()
    if folder and folder.is_dir():
        return
    missing = pytest.mark.skip(reason="the public data sets are not here (see MOLREL_DATA)")
    for item in items:
        if item.get_closest_marker("staged"):
            item.add_marker(missing)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """Folder with source.csv, target.csv and the finished run of them in run/."""
    from trained import train_tiny

    folder = tmp_path_factory.mktemp("trained")
    train_tiny(folder)
    return folder


@pytest.fixture
def unchecked():
    """For arguments that the package itself must refuse, whatever annotations say."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
