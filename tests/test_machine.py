"""Cores and places that the machine offers."""

import math
import os
import pwd
from pathlib import Path

import pytest

from molrel import machine
from molrel.errors import InputError
from molrel.machine import cpu_quota, say_once, usable_cores, user_cache, worker_count


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_cores_follow_the_affinity_of_the_process():
    before = os.sched_getaffinity(0)
    assert 1 <= usable_cores() <= len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1 == worker_count()
    finally:
        os.sched_setaffinity(0, before)


def test_cores_are_no_more_than_the_quota_and_at_least_one(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for quota, cores in ((0.3, 1), (1.0, 1), (1.5, 2), (6.0, 6), (64.0, 8), (math.inf, 8)):
        monkeypatch.setattr(machine, "cpu_quota", lambda q=quota: q)
        assert usable_cores() == cores


def test_quota_of_control_groups_version_2(tmp_path):
    groups, root = tmp_path / "groups", tmp_path / "fs"
    groups.write_text("0::/user.slice/job\n")
    write(root / "user.slice" / "job", cpu__max="max 100000")
    assert cpu_quota(groups, root) == math.inf
    write(root / "user.slice", cpu__max="250000 100000")
    assert cpu_quota(groups, root) == 2.5
    write(root / "user.slice" / "job", cpu__max="150000 100000")
    assert cpu_quota(groups, root) == 1.5


def test_quota_of_control_groups_version_1(tmp_path):
    groups, root = tmp_path / "groups", tmp_path / "fs"
    groups.write_text("5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/\n")
    # Inside a container its own group is mounted at the root.
    write(root / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    write(root / "memory", cpu__cfs_quota_us="1", cpu__cfs_period_us="100000")
    assert cpu_quota(groups, root) == math.inf
    write(root / "cpu", cpu__cfs_quota_us="300000")
    assert cpu_quota(groups, root) == 3


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert cpu_quota(tmp_path / "missing", tmp_path) == math.inf
    (tmp_path / "groups").write_text("0::/\n")
    assert cpu_quota(tmp_path / "groups", tmp_path) == math.inf


def test_workers_by_argument_then_variable_then_cores(monkeypatch):
    monkeypatch.setenv("MOLREL_WORKERS", "3")
    assert worker_count() == 3 and worker_count(2) == 2
    monkeypatch.setenv("MOLREL_WORKERS", "")
    assert worker_count() == usable_cores()


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "\u0662"])
def test_a_wrong_number_of_workers_is_named(text, monkeypatch):
    monkeypatch.setenv("MOLREL_WORKERS", text)
    with pytest.raises(InputError, match="MOLREL_WORKERS is"):
        worker_count()
    with pytest.raises(InputError, match="workers is 0"):
        worker_count(0)


def test_a_user_without_a_home_folder(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert user_cache() is None


def test_a_line_is_said_once(capsys):
    say_once.cache_clear()
    for text in ("a", "b", "a"):
        say_once(text)
    assert capsys.readouterr().err == "molrel: a\nmolrel: b\n"
