import pickle

import pytest
from chem_cases import ALL
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from molrel.chem.smiles import MoleculeError, Parsed, canonical_smiles, parse


def test_spellings_of_one_molecule_agree():
    assert parse("OCC") == parse("C(C)O") == parse("  CCO\n")
    assert parse("OCC") == Parsed("CCO", "LFQSCWFLJHTTHZ-UHFFFAOYSA-N", 3, ())
    assert parse("C1=CC=CC=C1").smiles == "c1ccccc1"


@pytest.mark.parametrize(
    ("smiles", "flags"),
    [
        ("CCO", ()),
        ("C[NH3+].C[O-]", ("salt",)),
        ("CC(=O)[O-].[Na+]", ("salt", "metal", "bondless")),
        ("[NH3]->[Pt](Cl)Cl", ("metal", "dative")),
        ("[He]", ("bondless",)),
        ("C[Mg]Br", ("metal",)),
        ("C[Si](C)(C)C", ()),
        ("[H][H]", ()),
    ],
)
def test_peculiar_molecules_are_kept_and_flagged(smiles, flags):
    assert parse(smiles).flags == flags


def test_atom_maps_are_not_identity():
    assert parse("[CH3:1][OH:2]") == parse("CO")
    assert parse("[CH2:1]([H:2])C") == parse("CC")


def test_isotopes_are_identity_and_count_as_atoms():
    heavy_water = parse("[2H]O[2H]")
    assert heavy_water.n_atoms == 3
    assert heavy_water.inchikey != parse("O").inchikey
    assert parse("[H]O[H]").n_atoms == 1


def test_molecules_without_inchi_stay_apart():
    keys = {parse(s).inchikey for s in ("*CC", "*CCC", "*C(C)C")}
    assert len(keys) == 3 and all(keys)


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("", "is empty"),
        ("  \t", "is empty"),
        (None, "is empty"),
        (float("nan"), "is empty"),
        ("CCO ethanol", "white space inside"),
        ("CCO |$a;b;c$|", "white space inside"),
        ("CC\x00O", r"character '\\x00'"),
        ("CCö", r"character '\\xf6'"),
        ("C\ud800", r"character '\\ud800'"),
        ("C1CC", "cannot be read as SMILES"),
        ("not a molecule".replace(" ", "_"), "cannot be read as SMILES"),
        ("C(C)(C)(C)(C)C", "valence for atom # 0 C, 5, is greater than permitted"),
        ("c1cccc1", "not a valid molecule"),
        ("CC>>CO", "cannot be read as SMILES"),
        ("C" * 101, "has 101 atoms, more than 100"),
        ("C" * 100_000, "is 100000 characters long"),
        ("[" * 9_000, "cannot be read as SMILES"),
        ("C(" * 5_000, "cannot be read as SMILES"),
    ],
)
def test_unusable_smiles_say_why(smiles, reason):
    with pytest.raises(MoleculeError, match=reason):
        parse(smiles)


def test_size_limit_counts_atoms_and_is_inclusive():
    assert parse("C" * 100).n_atoms == 100
    assert parse("CCO", max_atoms=3).n_atoms == 3
    with pytest.raises(MoleculeError, match="has 3 atoms, more than 2"):
        parse("CCO", max_atoms=2)


def test_a_long_spelling_of_a_small_molecule_is_accepted():
    # Isotope, charge, map number and two-digit ring closures on each atom.
    ring = [f"[13CH1:{i + 1}]" for i in range(100)]
    text = ring[0] + "%11" + "(F)" + "(F)".join(ring[1:]) + "(F)%11"
    with pytest.raises(MoleculeError, match="has 200 atoms"):
        parse(text)
    assert parse(text, max_atoms=200).n_atoms == 200


def test_rdkit_prints_nothing(capfd):
    for bad in ("C1CC", "c1cccc1", "C(C)(C)(C)(C)C"):
        with pytest.raises(MoleculeError):
            parse(bad)
        with pytest.raises(MoleculeError):
            canonical_smiles(bad)
    parse("*C")
    assert capfd.readouterr() == ("", "")


def test_error_survives_pickling_and_shortens_long_smiles():
    error = pickle.loads(pickle.dumps(MoleculeError("is odd", "C" * 5000)))
    assert (error.reason, error.smiles) == ("is odd", "C" * 5000)
    assert str(error).startswith("is odd: 'CCC") and len(str(error)) < 250
    assert str(MoleculeError("is odd")) == "is odd"


@pytest.mark.parametrize("smiles", ALL)
def test_canonical_form_is_a_fixed_point_and_independent_of_spelling(smiles):
    parsed = parse(smiles)
    assert parse(parsed.smiles) == parsed
    shuffled = Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), 5, randomSeed=3)
    assert {parse(s) for s in shuffled} == {parsed}


def test_a_canonical_form_that_cycles_settles_on_one_string(monkeypatch):
    """RDKit is known to flip between two forms of rare molecules; here it always does."""
    write = Chem.MolToSmiles
    flips = {"CCO": "OCC", "OCC": "CCO"}
    last = []

    def read(text, *args, **kwargs):
        last.append(text)
        return original(text, *args, **kwargs)

    def unstable(molecule, *args, **kwargs):
        text = write(molecule, *args, **kwargs)
        return flips.get(last[-1], text) if text == "CCO" else text

    original = Chem.MolFromSmiles
    monkeypatch.setattr(Chem, "MolFromSmiles", read)
    monkeypatch.setattr(Chem, "MolToSmiles", unstable)
    assert parse("CCO").smiles == parse("OCC").smiles == parse("C(O)C").smiles == "CCO"


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=30),
        st.text(alphabet="CNOPSFcnos[]()=#-+.:/\\@%123H*$~<> ", max_size=25),
        st.lists(
            st.sampled_from(["C", "N", "(", ")", "1", "=", "[O-]", "c1ccccc1", ".", "->"])
        ).map("".join),
    )
)
def test_any_text_is_parsed_to_a_fixed_point_or_refused(text):
    try:
        parsed = parse(text)
    except MoleculeError as error:
        assert error.reason
        with pytest.raises(MoleculeError):
            canonical_smiles(text)
        return
    assert parse(parsed.smiles) == parsed and canonical_smiles(text) == parsed.smiles
    assert 1 <= parsed.n_atoms <= 100
