"""What the cross-domain benchmark compares: settings, methods, and how much is spent on each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from molrel.chem.features import FeatureConfig
from molrel.config import DataConfig, Experiment
from molrel.methods.adaptation import AdaptationConfig
from molrel.methods.cgib import CGIBConfig
from molrel.methods.cigin import CIGINConfig
from molrel.methods.cmrl import CMRLConfig
from molrel.methods.distrans import DisTransConfig, LossWeights
from molrel.methods.estimators import Learner
from molrel.methods.fingerprint_mlp import FingerprintMLPConfig
from molrel.methods.method import MethodConfig
from molrel.methods.separation import SeparationConfig
from molrel.methods.siamese import SiameseConfig
from molrel.methods.ssi_ddi import SSIDDIConfig
from molrel.train.settings import OptimiserConfig, TrainConfig


@dataclass(frozen=True)
class Setting:
    """One source -> target transfer.

    Attributes:
      name: of its files.
      strategy: group in the tables.
      data: the domains.
      source_molecules, target_molecules: of a step; more where examples share few molecules, and
        0, which draws examples alone, where a side is a bag of many molecules.
      source_examples, target_examples: of a step at most.
    """

    name: str
    strategy: Literal["cross-dataset", "pronounced shift", "regression"]
    data: DataConfig
    source_molecules: int = 96
    source_examples: int = 2048
    target_molecules: int = 64
    target_examples: int = 512

    @property
    def title(self) -> str:
        """Source and target."""
        return f"{self.data.source} -> {self.data.target}"


def _setting(name: str, strategy: Any, source: str, target: str, **sizes: int) -> Setting:
    return Setting(name, strategy, DataConfig(source=source, target=target), **sizes)


SPARSE = {"source_molecules": 192, "target_molecules": 96}

SETTINGS: dict[str, Setting] = {
    s.name: s
    for s in (
        _setting("zhang_ddinter", "cross-dataset", "zhangddi", "ddinter2"),
        _setting("zhang_chch", "cross-dataset", "zhangddi", "chchminer"),
        _setting("ddinter_zhang", "cross-dataset", "ddinter2", "zhangddi"),
        _setting(
            "zhang_herbs",
            "cross-dataset",
            "zhangddi",
            "herbiv",
            target_molecules=0,
            target_examples=4,
        ),
        _setting("zhang_cocrystals", "cross-dataset", "zhangddi", "ccgnet", target_molecules=96),
        _setting("atc_a_l", "pronounced shift", "ddinter2_atc/A", "ddinter2_atc/L"),
        _setting("atc_l_r", "pronounced shift", "ddinter2_atc/L", "ddinter2_atc/R"),
        _setting("atc_r_a", "pronounced shift", "ddinter2_atc/R", "ddinter2_atc/A"),
        _setting("ddibench", "pronounced shift", "ddibench/train", "ddibench/test", **SPARSE),
        _setting(
            "zhang_clusters", "pronounced shift", "zhangddi_clusters/a", "zhangddi_clusters/b"
        ),
        _setting("mixtures", "pronounced shift", "mixtures/hydrocarbons", "mixtures/heteroatoms"),
        _setting(
            "opioid_mu_delta",
            "pronounced shift",
            "opioid_cliffs/mu",
            "opioid_cliffs/delta",
            **SPARSE,
        ),
        _setting(
            "opioid_mu_kappa",
            "pronounced shift",
            "opioid_cliffs/mu",
            "opioid_cliffs/kappa",
            **SPARSE,
        ),
        _setting("combisolv", "regression", "combisolv/qm", "combisolv/exp", **SPARSE),
        _setting("uvvis_chemfluor", "regression", "uvvis/deep4chem", "uvvis/chemfluor", **SPARSE),
        _setting("uvvis_dsscdb", "regression", "uvvis/deep4chem", "uvvis/dsscdb", **SPARSE),
        _setting("henry", "regression", "henry/computed", "henry/water"),
    )
}

Family = Literal[
    "floor", "classical", "source-only", "adaptation", "DisTrans", "control", "ceiling"
]


@dataclass(frozen=True)
class Entrant:
    """One row of the benchmark.

    Attributes:
      family: group in the tables.
      method: settings of a trained method; None for classical learners and floors.
      learner: classical learner, where it is one.
      supervised_by_target: the ceiling: trained on one half of the target's labels to score
        the other half.
      examples: of a step at most, where a pair costs more than its molecules.
    """

    family: Family
    method: MethodConfig | None = None
    learner: Learner | None = None
    supervised_by_target: bool = False
    examples: int | None = None


NO_ADAPTATION = LossWeights(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
# All adaptation methods, and the reference that they are compared with, share this encoder.
SHARED = "graph + picture + Morgan"
# The one floor that reads target labels.
TARGET_DEGREE = "floor: target-degree prior (reads target labels)"


def entrants(width: int, depth: int, picture_encoder: Any = "small") -> dict[str, Entrant]:
    """Every method at one size."""
    size = {"width": width, "depth": depth}
    views = size | {"picture_encoder": picture_encoder, "discriminator_width": width}
    both = views | {"fingerprints": True}
    full = DisTransConfig(**both)
    weights = full.weights

    def source(method: MethodConfig, examples: int | None = None) -> Entrant:
        return Entrant("source-only", method, examples=examples)

    def adapt(alignment: Any, **settings: Any) -> Entrant:
        return Entrant("adaptation", AdaptationConfig(alignment=alignment, **both, **settings))

    def ours(**fields: Any) -> Entrant:
        return Entrant("DisTrans", replace(full, **fields))

    def control(**fields: Any) -> Entrant:
        return Entrant("control", replace(full, **fields))

    def weighted(**factors: float) -> LossWeights:
        """The weights of the full method times factors, by the beginning of their names."""
        scaled = {
            name: round(value * factor, 6)
            for name, value in asdict(weights).items()
            for start, factor in factors.items()
            if name.startswith(start)
        }
        return replace(weights, **scaled)

    return {
        "floor: prevalence": Entrant("floor"),
        "floor: all positive": Entrant("floor"),
        "floor: mean": Entrant("floor"),
        "floor: source-label copier": Entrant("floor"),
        "floor: molecule means": Entrant("floor"),
        TARGET_DEGREE: Entrant("floor"),
        "Morgan + linear": Entrant("classical", learner="linear"),
        "Morgan + random forest": Entrant("classical", learner="forest"),
        "Morgan + gradient boosting": Entrant("classical", learner="boosting"),
        "Morgan + MLP": source(FingerprintMLPConfig(width=width)),
        "siamese GCN": source(SiameseConfig("gcn", **size)),
        "siamese GIN": source(SiameseConfig("gin", **size)),
        "siamese GAT": source(SiameseConfig("gat", **size)),
        "siamese D-MPNN": source(SiameseConfig("dmpnn", **size)),
        "CIGIN": source(CIGINConfig(**size), 512),
        # 4 blocks as published, at full size only.
        "SSI-DDI": source(SSIDDIConfig(width=width, blocks=4 if depth > 2 else 2)),
        "CGIB": source(CGIBConfig(**size), 512),
        "CMRL": source(CMRLConfig(**size), 512),
        "picture": source(
            replace(full, branches="picture", fingerprints=False, weights=NO_ADAPTATION)
        ),
        "graph + picture": source(replace(full, fingerprints=False, weights=NO_ADAPTATION)),
        SHARED: source(replace(full, weights=NO_ADAPTATION)),
        "AdaBN": adapt("dann", weight=0.0, domain_statistics=True),
        "DANN": adapt("dann", weight=0.1),
        "CDAN": adapt("cdan", weight=0.1),
        "CDAN+E": adapt("cdan_e", weight=0.1),
        "MK-MMD (DAN)": adapt("mk_mmd", weight=0.1),
        "Deep CORAL": adapt("coral", weight=10.0),
        "MCC": adapt("mcc", weight=0.1),
        "entropy minimisation": adapt("entropy", weight=0.1),
        "domain separation": Entrant("adaptation", SeparationConfig(**both)),
        "DisTrans": ours(),
        "target-supervised (ceiling)": Entrant(
            "ceiling", replace(full, weights=NO_ADAPTATION), supervised_by_target=True
        ),
        "DisTrans, agreement only": control(weights=replace(NO_ADAPTATION, agreement=0.05)),
        "DisTrans - weighting": control(weighting="uniform"),
        "DisTrans, weighting down": control(weighting="down"),
        "DisTrans, weighting signed": control(weighting="signed"),
        "DisTrans, shuffled discrepancy": control(weighting="shuffled"),
        "DisTrans - reversal": control(
            weights=replace(weights, adversarial_fragment=0.0, adversarial_pair=0.0)
        ),
        "DisTrans - prototypes": control(weights=replace(weights, prototype=0.0)),
        "DisTrans - guidance": control(weights=replace(weights, guidance=0.0)),
        "DisTrans + domain statistics": control(domain_statistics=True),
        "DisTrans - Morgan counts": control(fingerprints=False),
        "DisTrans - picture": control(branches="graph"),
        "DisTrans - graph": control(branches="picture"),
        "DisTrans, weak adversaries": control(weights=weighted(adversarial=0.1)),
        "DisTrans, strong adversaries": control(weights=weighted(adversarial=10.0)),
        "DisTrans - pair adversary": control(weights=replace(weights, adversarial_pair=0.0)),
        "DisTrans, adaptation in the second half": control(warmup=0.5),
        "DisTrans, wide discriminators": control(discriminator_width=4 * width),
        "DisTrans, strong guidance": control(weights=weighted(prototype=5.0, guidance=5.0)),
        "DisTrans, strong agreement": control(weights=weighted(agreement=10.0)),
        "DisTrans + entropy": control(weights=replace(weights, entropy=0.1)),
        "DisTrans, permuted groups": control(permute_groups=True),
        "DisTrans, random fragments": control(random_fragments=True),
    }


# The same number of trials for every method that learns; chosen on source validation.
TRIALS: tuple[Mapping[str, float], ...] = (
    {"optimiser.learning_rate": 1e-3},
    {"optimiser.learning_rate": 3e-3},
)
CLASSICAL_TRIALS: dict[Learner, tuple[float, ...]] = {
    "linear": (1.0, 10.0),
    "forest": (1, 5),
    "boosting": (0.1, 0.3),
}


@dataclass(frozen=True)
class Preset:
    """How much is spent.

    Attributes:
      settings, methods: what is run unless named; None is everything.
      seeds: how many.
      width, depth, picture_size, picture_encoder: of the networks.
      train: the loop; batch sizes are those of the setting times ``batch``.
      batch: factor on the settings' molecules, and twice on their examples, of a step.
      classical_examples: most training examples of a classical learner.
      evaluated: most target examples that are scored, a random subset of the target.
      replicates: of the bootstrap.
    """

    settings: tuple[str, ...] | None
    methods: tuple[str, ...] | None
    seeds: int
    width: int
    depth: int
    picture_size: int
    train: TrainConfig
    picture_encoder: Literal["small", "resnet18"] = "small"
    batch: int = 1
    classical_examples: int = 30_000
    evaluated: int = 6000
    replicates: int = 200
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)


PRESETS: dict[str, Preset] = {
    "smoke": Preset(
        settings=("mixtures", "opioid_mu_delta"),
        methods=(
            "floor: prevalence",
            "floor: source-label copier",
            "Morgan + linear",
            "siamese GIN",
            SHARED,
            "DANN",
            "DisTrans",
        ),
        seeds=2,
        width=16,
        depth=1,
        picture_size=32,
        train=TrainConfig(steps=20, evaluate_every=10, valid_examples=500),
        classical_examples=1280,
        evaluated=1000,
        replicates=50,
    ),
    "cpu": Preset(
        settings=None,
        methods=None,
        seeds=5,
        width=64,
        depth=2,
        picture_size=32,
        train=TrainConfig(steps=600, evaluate_every=50, patience=3, valid_examples=2000),
        replicates=1000,
    ),
    "paper": Preset(
        settings=None,
        methods=None,
        seeds=5,
        width=300,
        depth=3,
        picture_size=224,
        picture_encoder="resnet18",
        train=TrainConfig(steps=10_000, evaluate_every=250, patience=4, valid_examples=10_000),
        batch=3,
        classical_examples=1_000_000,
        evaluated=50_000,
        replicates=500,
    ),
}


def experiment(
    preset: Preset, setting: Setting, method: MethodConfig, examples: int | None = None
) -> Experiment:
    """The config of one method in one setting, with at most so many ``examples`` of the source."""
    factor = preset.batch
    most = setting.source_examples if examples is None else min(examples, setting.source_examples)
    train = replace(
        preset.train,
        source_molecules=setting.source_molecules * factor,
        source_examples=most * factor**2,
        target_molecules=setting.target_molecules * factor,
        target_examples=setting.target_examples * factor**2,
    )
    return Experiment(
        name=setting.name,
        data=setting.data,
        features=FeatureConfig(picture_size=preset.picture_size),
        method=method,
        optimiser=preset.optimiser,
        train=train,
    )
