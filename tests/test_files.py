"""Files are written whole or not at all, and nothing that a user owns is replaced unasked."""

import bz2
import gzip
import lzma
import os
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from molrel.errors import InputError, RunError
from molrel.files import (
    check_output,
    only_one,
    packed,
    refuse_links,
    remove,
    remove_temporaries,
    write_output,
    write_whole,
)


def test_a_file_is_replaced_and_keeps_its_permissions(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "é\n")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    path.chmod(0o640)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_beside_the_output_with_a_temporary_name_is_left_alone(tmp_path):
    for name in ("out.csv.tmp", "out.tmp", "out.csv~"):
        (tmp_path / name).write_text("mine")
    write_output(tmp_path / "out.csv", b"x")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "out.csv": "x",
        **dict.fromkeys(("out.csv.tmp", "out.tmp", "out.csv~"), "mine"),
    }


def test_an_output_that_is_a_link_is_written_through(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "there" / "real.csv")
    for content in (b"first", b"second"):  # the goal is made, then replaced
        check_output(tmp_path / "link.csv")
        write_output(tmp_path / "link.csv", content)
        assert (tmp_path / "there" / "real.csv").read_bytes() == content
    assert (tmp_path / "link.csv").is_symlink()
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["real.csv"]


def test_inside_a_run_folder_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "report.md").symlink_to(tmp_path / "mine.txt")
    write_whole(tmp_path / "report.md", "report")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (tmp_path / "report.md").read_text() == "report"


def test_a_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    check_output(pipe)
    write_output(pipe, b"through")
    reader.join(10)
    assert found == [b"through"] and stat.S_ISFIFO(pipe.stat().st_mode)


PROGRAM = (
    "import sys; from pathlib import Path; from molrel.files import *;"
    "print('before'); check_output(Path(sys.argv[1]));"
    "write_output(Path(sys.argv[1]), b'content\\n'); print('after')"
)


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("to_file", [False, True])
def test_standard_output_is_written_to_by_any_name(tmp_path, name, to_file):
    if name != "-" and not os.path.exists(name):
        pytest.skip(f"there is no {name} here")
    command = [sys.executable, "-c", PROGRAM, name]
    if to_file:
        with (tmp_path / "out").open("wb") as file:
            subprocess.run(command, stdout=file, check=True)
        written = (tmp_path / "out").read_bytes()
        assert [p.name for p in tmp_path.iterdir()] == ["out"]
    else:
        written = subprocess.run(command, capture_output=True, check=True).stdout
    assert written == b"before\ncontent\nafter\n"


def test_a_device_stays_what_it_is():
    before = os.stat("/dev/null")
    check_output(Path("/dev/null"))
    write_output(Path("/dev/null"), b"x")
    assert os.stat("/dev/null").st_ino == before.st_ino


@pytest.mark.parametrize(
    "suffix, unpack",
    [
        (".gz", gzip.decompress),
        (".bz2", bz2.decompress),
        (".xz", lzma.decompress),
        ("", bytes),
    ],
)
def test_a_suffix_packs(suffix, unpack):
    assert unpack(packed(b"content", f"a.csv{suffix}")) == b"content"


def test_a_zip_holds_the_file_under_its_own_name(tmp_path):
    (tmp_path / "a.csv.zip").write_bytes(packed(b"content", "a.csv.zip"))
    with zipfile.ZipFile(tmp_path / "a.csv.zip") as archive:
        assert archive.namelist() == ["a.csv"] and archive.read("a.csv") == b"content"


def test_what_cannot_be_written_is_said_before_and_after(tmp_path):
    for path in (tmp_path, tmp_path / "none" / "a.csv"):
        with pytest.raises(InputError):
            check_output(path)
    with pytest.raises(RunError, match="none/a.csv"):
        write_output(tmp_path / "none" / "a.csv", b"x")


def test_links_are_found_wherever_they_are(tmp_path):
    (tmp_path / "run" / "checkpoints" / "4").mkdir(parents=True)
    refuse_links(tmp_path / "run")
    (tmp_path / "there").mkdir()
    link = tmp_path / "run" / "checkpoints" / "4" / "link"
    link.symlink_to(tmp_path / "there")
    with pytest.raises(InputError, match="symbolic link") as error:
        refuse_links(tmp_path / "run")
    assert error.value.path == link
    # The run folder itself may be one.
    link.unlink()
    (tmp_path / "to_run").symlink_to(tmp_path / "run")
    refuse_links(tmp_path / "to_run")


def test_removing_a_link_leaves_what_it_points_to(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for name in ("link", "none"):
        remove(tmp_path / name)
    (tmp_path / ".molrel-abc").mkdir()
    (tmp_path / ".molrel-abc" / "half").write_text("")
    (tmp_path / ".molrel-x.tmp").write_text("")
    remove_temporaries(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there" / "file").read_text() == "mine"


def test_a_folder_is_for_one_process_and_free_again_when_it_is_killed(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from molrel.files import only_one\n"
        "with only_one(Path(sys.argv[1])):\n"
        "    print('mine', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "mine\n"
            with pytest.raises(InputError, match="another process"), only_one(tmp_path):
                pass
        finally:
            other.kill()
    with only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_the_lock_does_not_follow_a_link(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(RunError), only_one(tmp_path / "run"):
        pass
    assert (tmp_path / "mine").read_text() == "mine"
