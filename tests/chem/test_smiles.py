import pickle

import pytest
from chem_cases import ALL
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from molrel.chem.smiles import MoleculeError, Parsed, canonical_smiles, inchikey_of, parse


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
        ("C(" * 90, "cannot be read as SMILES"),
        ("C(" * 5_000, "has 5000 atoms, more than 100"),
    ],
)
def test_unusable_smiles_say_why(unchecked, smiles, reason):
    with pytest.raises(MoleculeError, match=reason):
        parse(smiles)


@pytest.mark.parametrize(
    "atom", ["[CH{}]", "[13cH{}:2]1ccccc1", "[#6H{}]", "[*H{}]", "[UH{}+2]", "[OH{}]"]
)
def test_a_number_of_hydrogens_is_read_as_written_or_refused(atom):
    """RDKit keeps eight bits of it: [CH256] would be a carbon atom without hydrogens."""
    check_numbers(
        atom, [*range(300), 511, 512, 768, 999, 65536, 2**32], lambda a: a.GetTotalNumHs()
    )


@pytest.mark.parametrize("atom", ["[*+{}]", "[CH4+{}]", "[Fe+{}:7]"])
def test_a_positive_charge_is_read_as_written_or_refused(atom):
    check_numbers(atom, [*range(300), 512, 65536, 2**32], lambda a: a.GetFormalCharge())


@pytest.mark.parametrize("atom", ["[*-{}]", "[CH-{}]"])
def test_a_negative_charge_is_read_as_written_or_refused(atom):
    check_numbers(atom, [*range(300), 512, 65536, 2**32], lambda a: -a.GetFormalCharge())


@pytest.mark.parametrize("atom", ["[{}C]", "[{}*]", "[{}CH4:1]", "[{}#6]"])
def test_an_isotope_is_read_as_written_or_refused(atom):
    numbers = [*range(0, 1100, 7), *range(65500, 65600), 131072, 2**32 + 13, 10**40]
    check_numbers(atom, numbers, lambda a: a.GetIsotope())


@pytest.mark.parametrize("atom", ["[#{}]", "[#{}H:3]"])
def test_an_atomic_number_is_read_as_written_or_refused(atom):
    check_numbers(atom, [*range(600), 65536 + 6], lambda a: a.GetAtomicNum())


def check_numbers(pattern, numbers, read):
    """Each number stands in the parsed atom as in the text, or the text is refused."""
    accepted = 0
    for n in numbers:
        try:
            canonical_smiles(pattern.format(n))
        except MoleculeError as error:
            assert "RDKit fails" not in error.reason and "\n" not in error.reason
            continue
        atom = Chem.MolFromSmiles(pattern.format(n)).GetAtomWithIdx(0)
        assert read(atom) == n, pattern.format(n)
        accepted += 1
    assert accepted


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("[CH128]", r"the hydrogen count of \[CH128\] is larger than 127"),
        ("C[CH256]", "hydrogen count"),
        ("[H256]", "hydrogen count"),
        ("[65536C]", r"isotope of \[65536C\] is larger than 65535"),
        ("[CH4+200]", "charge"),
        ("[CH-300]", "charge"),
        ("[#257]", "atomic number"),
        ("[#119]", "atomic number"),
        ("[C:2147483648]", "atom map number"),
        ("[" + "1" * 5000 + "C]", "isotope of .{40}... is larger"),
        ("[UH127]C", "valid molecule|RDKit fails on it"),
        ("*" + "([H])" * 200, "more than 127 neighbours"),
        # RDKit would count them in eight bits, as no hydrogen at all.
        ("[U]" + "([H])" * 256, "more than 127 neighbours"),
        ("[U]" + "(=O)" * 80, "valid molecule|RDKit fails on it"),
    ],
)
def test_numbers_that_rdkit_cannot_store_are_refused(smiles, reason):
    with pytest.raises(MoleculeError, match=reason) as error:
        parse(smiles)
    assert "\n" not in error.value.reason and "BOOST" not in error.value.reason


def test_ordinary_brackets_are_read():
    for text in """[nH]1cccc1 C[C@@H](N)O [13CH3:2]O [Fe+2] [Fe++] [#6] [se]1cccc1 [2H]C *
        C[C@TH1](F)(Cl)Br F[Pt@SP1](Cl)(Br)I [Og] [*:1]C [CH3-] [0CH4] [U+6] [13*] [H+]
        [C@OH30] [#118] [CH2:999]=[CH2:1000] [NH4+].[Cl-] C%(12345)CC%(12345)""".split():
        assert parse(text).n_atoms >= 1


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("c" * 10_900, "has 10900 atoms, more than 100"),
        ("C1" + "[13cH:12]" * 1_200, "has 1201 atoms, more than 100"),
        ("*" + "".join(f"%({i})" for i in range(100, 1500)), "1400 ring closure digits"),
        ("C" + "1" * 10_900, "10900 ring closure digits"),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_parsed(smiles, reason, monkeypatch):
    monkeypatch.setattr(Chem, "MolFromSmiles", None)
    with pytest.raises(MoleculeError, match=reason):
        parse(smiles)


def test_written_hydrogens_do_not_count_before_parsing():
    text = "C([H])([H])([H])" + "C([H])([H])" * 98 + "C([2H])([H])[H]"
    with pytest.raises(MoleculeError, match="has 101 atoms"):
        parse(text)
    assert parse(text.replace("2H", "H")).n_atoms == 100
    assert parse("".join(f"C([H:{i}])" for i in range(60))).n_atoms == 60


@pytest.mark.parametrize("smiles", ALL)
def test_the_text_never_shows_more_atoms_than_the_molecule_has(smiles):
    n = parse(smiles).n_atoms
    for text in Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), 5, randomSeed=1):
        assert parse(text, max_atoms=n).n_atoms == n


def test_any_failure_of_rdkit_is_the_molecules(monkeypatch):
    """Those of C++ arrive as RuntimeError, those of Boost as TypeError, and others as they like."""
    for kind in (RuntimeError, OverflowError, TypeError, ValueError):

        def fails(*_, kind=kind, **__):
            raise kind("Pre-condition\n\tsome check\n\tViolation occurred here\n\tBOOST: 1\n")

        monkeypatch.setattr(Chem, "MolToSmiles", fails)
        for read in (parse, canonical_smiles):
            with pytest.raises(MoleculeError) as error:
                read("CCCCN")
            reason = f"RDKit fails on it ({kind.__name__}: Pre-condition some check)"
            assert error.value.reason == reason
    monkeypatch.setattr(Chem, "MolToSmiles", lambda *_: [].pop())
    with pytest.raises(MoleculeError, match="IndexError"):
        parse("CC")

    def out_of_memory(*_):
        raise MemoryError

    monkeypatch.setattr(Chem, "MolToSmiles", out_of_memory)
    with pytest.raises(MemoryError):
        parse("CC")


def test_a_molecule_that_inchi_gives_up_on_is_known_by_its_smiles(monkeypatch):
    def fails(_):
        raise RuntimeError("InChI")

    monkeypatch.setattr(Chem, "MolToInchiKey", fails)
    assert parse("CCO").inchikey == inchikey_of("CCO") == "smiles:CCO"


def test_inchikey_of_names_what_it_cannot_read():
    assert inchikey_of("CCO") == parse("CCO").inchikey
    with pytest.raises(MoleculeError, match="cannot be read.*C1CC"):
        inchikey_of("C1CC")


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
