"""The staged copy of the public data sets, for tests that need it."""

from functools import cache

import pytest

from molrel.data import catalog


@pytest.fixture(scope="session")
def staged():
    """Loads a named set, or skips the test where its files are not there."""

    @cache
    def load(name: str, max_atoms: int = 100):
        entry = catalog.describe(name)
        if catalog.missing_files(entry.needed(name.partition("/")[2]), catalog.data_folder()):
            pytest.skip(f"{name} is not on this machine")
        return catalog.load(name, max_atoms=max_atoms)

    return load
