import pytest

from molrel.chem.scaffolds import murcko_scaffold
from molrel.chem.smiles import MoleculeError


@pytest.mark.parametrize(
    ("smiles", "scaffold"),
    [
        ("CCO", ""),
        ("[He]", ""),
        ("CC(=O)Oc1ccccc1C(=O)O", "c1ccccc1"),
        ("c1ccccc1CCc1ccncc1CC", "c1ccc(CCc2ccncc2)cc1"),
        ("O=C1CCC(C)C1", "O=C1CCCC1"),
        ("C[C@H]1CC[C@@H](O)CC1", "C1CCCCC1"),
        ("Cl.CN1CCCC1", "C1CCNC1"),
    ],
)
def test_scaffold(smiles, scaffold):
    assert murcko_scaffold(smiles) == scaffold


def test_unreadable_smiles():
    with pytest.raises(MoleculeError, match="C1CC"):
        murcko_scaffold("C1CC")
