"""The catalogue's sets of properties of single molecules."""

from __future__ import annotations

from collections.abc import Mapping

from molrel.data import facts
from molrel.data.entry import Entry, Reader

_DEEPCHEM = "github.com/deepchem/deepchem"
_TOXEXPERT = "github.com/kimsu55/ToxExpert"
_MPG = "github.com/pyli0628/MPG"

# Name -> (sha256 of its file, repository that it comes from).
_MOLECULENET: Mapping[str, tuple[str, str]] = {
    "bbbp": (
        "2192376046f7f1a044fe4a671a446ce178385f77d9e901f7188e869c3fb1268f",
        _TOXEXPERT,
    ),
    "bace": (
        "cc3d2eb25ec481a6f6534b141351bfa4582dbfa9602da9608446b099ef1adccf",
        _TOXEXPERT,
    ),
    "hiv": (
        "48e65dc37dce75d67bae20e66d99d88ada1a208b65d870edfc0873aaedcb372e",
        _TOXEXPERT,
    ),
    "clintox": (
        "37899b2022beeefcf64bb88e1a4bba181660f19511dfd0e3eaf77520e79c000f",
        _DEEPCHEM,
    ),
    "sider": (
        "ebf65c641eaaaf1702e39faaadde886bfc8c5245fa34c4a55087327dabddead7",
        _DEEPCHEM,
    ),
    "tox21": (
        "5693b7e7c1369c3b39bc30be88a49e4052003d365ce72aa7b35350e41d81e57e",
        _TOXEXPERT,
    ),
    "toxcast": (
        "c0ed63d452ed54555ed09ba214a965c89ab2aeb57e2c18f2b0179135e0ece823",
        _DEEPCHEM,
    ),
    "muv": (
        "c1d7b52684de259e122305deedc53c89f373410edd2569a5f984de34df153624",
        _DEEPCHEM,
    ),
    "esol": (
        "e20e4fdefd71d21f7d58761d54963129674f8b4fddc647c63c18e15af080e112",
        _DEEPCHEM,
    ),
    "freesolv": (
        "3a519bc2c246cef6bd73353aa191c5f64afe3e0c7fac5f6e20a612c56330040e",
        _MPG,
    ),
    "lipophilicity": (
        "343209a111bfa9b4b201e14ceee4b08bf5b0bb464419a50599d709768ec2bc58",
        _MPG,
    ),
}

_MOLECULEACE: Mapping[str, str] = {
    "CHEMBL1862_Ki": "5c69354eae1c73d7a6604e10f30e9f03aa1dd057fd8e24828baf54721c335563",
    "CHEMBL1871_Ki": "9151109cf118c519e41dbf85986dbdb0e0b5660ca6708694ba97076e5d0958e3",
    "CHEMBL2034_Ki": "0b16e051813ca5adc4e4b98d0988fa3c3c7ba01a5f1221f86113debb7e2b69b9",
    "CHEMBL204_Ki": "a670a8bbc2a42ade462d68ae0f543b8212642a902010517b823b863a07eb630e",
    "CHEMBL2147_Ki": "e9546a5a7b2dbf69dd51d11a57ab2337bb53e58bc02741d257c2718543096135",
    "CHEMBL214_Ki": "ae4c51e58902a6b1938a4fef6e5a99fd85b338335a088d27319ea21f95bcf16d",
    "CHEMBL218_EC50": "49b1f579ea03193cd0920ad92e4430ca0b4ed1913e252927ad5bc41bec863557",
    "CHEMBL228_Ki": "9407a02aec7116db802a95c22789f3603f6094d11359096fc51c39e1be21237c",
    "CHEMBL231_Ki": "511f3ee620881ae10da3ddc3c6bdb43feadb7cfd9303b6b3aa3db52fe0979e3d",
    "CHEMBL233_Ki": "b32018557214c328be55a4d2a32ef26ceaba8d97054974cee9d6e59dcaf8439d",
    "CHEMBL234_Ki": "0df9ccb991a22ad6f035fe30d693ae28a1baf88ecccbf9887561af36fa0767f8",
    "CHEMBL235_EC50": "611bff8ff59ff161c553814cf2043f3bf7f90ff8a45ae7700e16d3431eeb934f",
    "CHEMBL236_Ki": "7f671595291db8df71c19cccd843697241477dd57e281aaecba312fc1dbbf96c",
    "CHEMBL237_EC50": "ebcbe6adeea180703a115c64a718bcda9c64950477f2befc15bf93d008773dc3",
    "CHEMBL237_Ki": "c93fd1331029f1650002ff069e189166c0053c4c530b0d0c37aeafc973fb2a8f",
    "CHEMBL238_Ki": "1de67d15db4fd3305241566df8d134c7cf4d24dd2fb823ef3f1feb7dc7ed62e5",
    "CHEMBL244_Ki": "6ce15385082feb6ab3f1c63c09aae634d214113fb40fe1425128a0f74a3f7931",
    "CHEMBL264_Ki": "08c178e83cc8151688701e86a3ce950b929e4b316a3ae99fff02a957ec6c4e81",
    "CHEMBL2835_Ki": "83d46c0c1a961655b08e70b35638704ec3fc75540703a06e64ed488e4030b535",
    "CHEMBL287_Ki": "9cdfdc0d82aee847bafdcc13db6b3baa255dd3ce3617fe073636892442172926",
    "CHEMBL2971_Ki": "8ce34484b5758245ce03b44bd2d85b281dfa059fe9e41c466525ed4af5aa2e42",
    "CHEMBL3979_EC50": "76cad5217c448ec84e570e0f413e4942b5b3103a11c2715f6e5931901949c31a",
    "CHEMBL4005_Ki": "3dc18aac06eb4f4d781602ebeb6f45688147736c6657c2e0e6693c89dc836127",
    "CHEMBL4616_EC50": "6464893ef337090b423a44daf8a9f6ed8eb759ab8e18a3bd4ac7e32561051696",
    "CHEMBL4792_Ki": "6e6de2f1ce7e392f06cae49d186203198286a60e8d9b70fa46e1d182b4d3a937",
}


def _properties():
    from molrel.data import properties  # brings pandas, scikit-learn and RDKit

    return properties


def _moleculenet(name: str) -> Reader:
    return lambda data, domain, max_atoms: _properties().read_moleculenet(
        name, data / "moleculenet", max_atoms
    )


PROPERTY_ENTRIES: tuple[Entry, ...] = (
    *(
        Entry(
            name=name,
            domains=(),
            task=facts.MOLECULENET[name].task,
            columns=("molecule",),
            licence="MIT" if source == _DEEPCHEM else "not stated by its source",
            citation=f"MoleculeNet: Wu et al., Chem. Sci. 9:513 (2018) ({source})",
            files={f"moleculenet/{name}.csv.gz": digest},
            reader=_moleculenet(name),
            note=facts.MOLECULENET_NOTE,
        )
        for name, (digest, source) in _MOLECULENET.items()
    ),
    Entry(
        name="moleculeace",
        domains=facts.MOLECULEACE_TARGETS,
        task=facts.POTENCY,
        columns=("ligand",),
        licence="MIT (MoleculeACE); activities CC BY-SA 3.0 (ChEMBL)",
        citation="van Tilborg et al., J. Chem. Inf. Model. 62:5938 (2022)",
        files={f"moleculeace/{name}.csv.gz": digest for name, digest in _MOLECULEACE.items()},
        file_a_domain=True,
        reader=lambda data, domain, max_atoms: _properties().read_moleculeace(
            data / "moleculeace", domain, max_atoms
        ),
        note=facts.MOLECULEACE_NOTE,
    ),
    Entry(
        name="opioid_affinity",
        domains=("mu", "delta", "kappa"),
        task=facts.AFFINITY,
        columns=("ligand",),
        licence="MIT (MoleculeACE); activities CC BY-SA 3.0 (ChEMBL)",
        citation="van Tilborg et al., J. Chem. Inf. Model. 62:5938 (2022)",
        reader=lambda data, domain, max_atoms: _properties().read_affinities(domain, max_atoms),
        note=facts.AFFINITY_NOTE,
    ),
)
