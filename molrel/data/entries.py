"""What is known of each data set of the catalogue, as values.

Readers are imported when they are called: they bring pandas, scikit-learn and RDKit, which
listing the catalogue does not need.
"""

from __future__ import annotations

from collections.abc import Mapping

from molrel.data import facts
from molrel.data.entry import Entry
from molrel.data.property_entries import PROPERTY_ENTRIES


def _builtin():
    from molrel.data import builtin

    return builtin


def _named():
    from molrel.data import named

    return named


def _opioids():
    from molrel.data import opioids

    return opioids


def _relations():
    from molrel.data import relations

    return relations


_ZHANGDDI: Mapping[str, str] = {
    "ddi/zhangddi/drugs.csv.gz": (
        "856006a4b510661ed79282ae5d90b5f3531e3b8f803fa0ad9c288d0c38e74000"
    ),
    "ddi/zhangddi/pairs.csv.gz": (
        "592f63b5e0cbf0b839a9349b67d7fef5803ccb706843e94166fa7cb5579cf7ff"
    ),
}

_DDINTER2: Mapping[str, str] = {
    "ddi/ddinter2/drugs.csv.gz": (
        "5a60ad8c36b42c5d51239ac7482457ded2bdd92e694d7884dfb90ba3bab5d490"
    ),
    "ddi/ddinter2/pairs.csv.gz": (
        "ffc21f60e23f500bd71d4081ec14df26d72ddc4049ceb8bc77bbaa5301970603"
    ),
}

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="mixtures",
            domains=("hydrocarbons", "heteroatoms"),
            task=facts.MIXING,
            columns=("first", "second"),
            licence="MIT (packages thermo and chemicals)",
            packages=("thermo", "chemicals"),
            citation="E-PPR78: Jaubert & Mutelet, Fluid Phase Equilib. 224:285 (2004); Bell, "
            "thermo and chemicals",
            reader=lambda data, domain, max_atoms: _builtin().read_mixtures(domain, max_atoms),
            note=facts.MIXTURES_NOTE,
        ),
        Entry(
            name="henry",
            domains=("computed", "water"),
            task=facts.HENRY,
            columns=("solute", "solvent"),
            licence="MIT (packages thermo and chemicals)",
            packages=("thermo", "chemicals"),
            citation="Sander, Atmos. Chem. Phys. 15:4399 (2015); Bell, thermo and chemicals",
            reader=lambda data, domain, max_atoms: _builtin().read_henry(domain, max_atoms),
            note=f"{facts.HENRY_COMPUTED_NOTE} {facts.HENRY_WATER_NOTE}",
        ),
        Entry(
            name="opioid_cliffs",
            domains=("mu", "delta", "kappa"),
            task=facts.CLIFF,
            columns=("ligand_a", "ligand_b"),
            licence="MIT (MoleculeACE); activities CC BY-SA 3.0 (ChEMBL)",
            citation="van Tilborg et al., J. Chem. Inf. Model. 62:5938 (2022)",
            reader=lambda data, domain, max_atoms: _opioids().read_cliffs(domain, max_atoms),
            note=facts.CLIFFS_NOTE,
        ),
        Entry(
            name="zhangddi",
            domains=(),
            task=facts.INTERACTION,
            columns=("drug_a", "drug_b"),
            licence="not stated by its sources",
            citation="Zhang et al., BMC Bioinformatics 18:18 (2017); SMILES: MIRACLE, Wang et "
            "al., WWW 2021, and chemicalx (github.com/zw9977129/drug-drug-interaction, "
            "github.com/isjakewong/MIRACLE, github.com/AstraZeneca/chemicalx)",
            files=_ZHANGDDI,
            reader=lambda data, domain, max_atoms: _named().read_zhangddi(
                data / "ddi/zhangddi", max_atoms
            ),
            note=facts.ZHANGDDI_NOTE,
        ),
        Entry(
            name="chchminer",
            domains=(),
            task=facts.INTERACTION,
            columns=("drug_a", "drug_b"),
            licence="not stated by its sources",
            citation="BioSNAP ChCh-Miner: Zitnik et al., SNAP biomedical network data sets "
            "(2018); MIRACLE, Wang et al., WWW 2021 (github.com/isjakewong/MIRACLE)",
            files={
                "ddi/chchminer/drugs.csv.gz": (
                    "c3a8d08c14342d0e285f64ecaa00c584424e73ddcf6d6331ef06ff0efff3c94a"
                ),
                "ddi/chchminer/pairs.csv.gz": (
                    "7f49ef6866bda19da35fde9373c4c82fe3dfa6f2b7c173bd57e6b55e4adb89c8"
                ),
            },
            reader=lambda data, domain, max_atoms: _named().read_chchminer(
                data / "ddi/chchminer", max_atoms
            ),
            note=facts.CHCHMINER_NOTE,
        ),
        Entry(
            name="ddinter2",
            domains=(),
            task=facts.INTERACTION,
            columns=("drug_a", "drug_b"),
            licence="CC BY-NC-SA 4.0 (DDInter); drug vocabulary CC0 (DrugBank)",
            citation="Xiong et al., Nucleic Acids Res. 50:D1200 (2022); Tian et al., Nucleic "
            "Acids Res. 53:D1356 (2025) (ddinter2.scbdd.com, "
            "github.com/hitesh19426/ddinter-main, github.com/vens8/ddinter)",
            files=_DDINTER2,
            reader=lambda data, domain, max_atoms: _named().read_ddinter2(
                data / "ddi/ddinter2", max_atoms
            ),
            note=facts.DDINTER2_NOTE,
        ),
        Entry(
            name="ddinter2_atc",
            domains=("A", "B", "D", "H", "L", "P", "R", "V"),
            task=facts.INTERACTION,
            columns=("drug_a", "drug_b"),
            licence="CC BY-NC-SA 4.0 (DDInter); drug vocabulary CC0 (DrugBank)",
            citation="as ddinter2; domains are ATC classes",
            files=_DDINTER2,
            reader=lambda data, domain, max_atoms: _named().read_ddinter2_class(
                data / "ddi/ddinter2", domain, max_atoms
            ),
            note=facts.DDINTER2_NOTE,
        ),
        Entry(
            name="zhangddi_clusters",
            domains=("a", "b"),
            task=facts.INTERACTION,
            columns=("drug_a", "drug_b"),
            licence="not stated by its sources",
            citation="as zhangddi; domains are clusters of scaffolds",
            files=_ZHANGDDI,
            reader=lambda data, domain, max_atoms: _named().read_zhangddi_cluster(
                data / "ddi/zhangddi", domain, max_atoms
            ),
            note=facts.ZHANGDDI_NOTE,
        ),
        Entry(
            name="ddibench",
            domains=("train", "test"),
            task=facts.INTERACTION_TYPE,
            columns=("drug_a", "drug_b"),
            licence="not stated by its source; DrugBank, its origin, is CC BY-NC 4.0",
            citation="Shen et al., Bioinformatics (2025) (github.com/LARS-research/DDI-Bench)",
            files={
                "ddi/ddibench_drugbank/drugs.csv.gz": (
                    "8d0687b948e72306e05ab2c8d50cc85a7ce0a806bc59fc158b8b690d4222e429"
                ),
                "ddi/ddibench_drugbank/cluster.csv.gz": (
                    "5697ce821f613090b2bbf704a5a1106cb96cd435a8e5b61143ef6ad6aaa78159"
                ),
            },
            reader=lambda data, domain, max_atoms: _named().read_ddibench(
                data / "ddi/ddibench_drugbank", domain, max_atoms
            ),
            note=facts.DDIBENCH_NOTE,
        ),
        Entry(
            name="ccgnet",
            domains=(),
            task=facts.COCRYSTAL,
            columns=("coformer_a", "coformer_b"),
            licence="MIT (github.com/Saoge123/ccgnet)",
            citation="Jiang et al., Nat. Commun. 12:5950 (2021)",
            files={
                "cocrystal/ccgnet/pairs.csv.gz": (
                    "77131516f3189d067d2cff9d4e5ef8786acc05b0e58124301f84cd3552bdc55b"
                ),
            },
            reader=lambda data, domain, max_atoms: _relations().read_ccgnet(
                data / "cocrystal/ccgnet", max_atoms
            ),
            note=facts.CCGNET_NOTE,
        ),
        Entry(
            name="herbiv",
            domains=(),
            task=facts.COMPATIBILITY,
            columns=("herb_a", "herb_b"),
            licence="MIT (github.com/MLi-lab-Bioinformatics-NJUCM/HerbiV)",
            citation="HerbiV, Lab-Li-Bioinformatics-NJUCM (2023); pairs derived from its formulas",
            files={
                "herb/herbiv/herb_pairs_derived.csv.gz": (
                    "314ec26912351dd37a67e80f6b42842b832d985f2bf6735e82a11349f9240ee1"
                ),
                "herb/herbiv/herb_ingredient.csv.gz": (
                    "e2a98bf860439e8ecfde9138c69138fc4b1d939a84e754c7c62304b73bb90831"
                ),
                "herb/herbiv/ingredients.csv.gz": (
                    "a89a3ed1752d2ce2a932a8644dd084eaaee4b0caabc39b6cec161f35df323798"
                ),
            },
            reader=lambda data, domain, max_atoms: _relations().read_herbiv(
                data / "herb/herbiv", max_atoms
            ),
            note=facts.HERBIV_NOTE,
        ),
        Entry(
            name="combisolv",
            domains=("qm", "exp"),
            task=facts.SOLVATION,
            columns=("solute", "solvent"),
            licence="not stated by its source (github.com/su-group/SolvBERT)",
            citation="Vermeire & Green, Chem. Eng. J. 418:129307 (2021); subset: Yu et al., "
            "Digital Discovery (2023)",
            files={
                "solvation/combisolv_qm/combisolv_qm_100k.csv.gz": (
                    "3f96c9890aba74457582415a80ebe047a4f639cba97a367fe65a3e1c59e21ef0"
                ),
                "solvation/combisolv_exp/combisolv_exp_8780.csv.gz": (
                    "1964c33493c5eba8f8c5746a8a079a685b4f521b762d31ad161925eebc543c38"
                ),
            },
            reader=lambda data, domain, max_atoms: _relations().read_combisolv(
                data / "solvation", domain, max_atoms
            ),
            note=f"qm: {facts.COMBISOLV_QM_NOTE} exp: {facts.COMBISOLV_EXP_NOTE}",
        ),
        Entry(
            name="uvvis",
            domains=("deep4chem", "chemfluor", "dsscdb", "dyeagg", "cdex"),
            task=facts.ABSORPTION,
            columns=("dye", "solvent"),
            licence="MIT (github.com/learningmatter-mit/uvvisml)",
            citation="Greenman, Green & Gomez-Bombarelli, Chem. Sci. 13:1152 (2022)",
            files={
                "solvation/uvvis_multisource/lambda_max_abs.csv.gz": (
                    "450017a39cbb67d047bff302d5afcb3de738469005e7976fb6548e7765a46008"
                ),
            },
            reader=lambda data, domain, max_atoms: _relations().read_uvvis(
                data / "solvation/uvvis_multisource", domain, max_atoms
            ),
            note=facts.UVVIS_NOTE,
        ),
        *PROPERTY_ENTRIES,
    )
}
