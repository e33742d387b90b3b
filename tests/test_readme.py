"""The README's Python runs as it is printed."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def run_snippet(index, folder, monkeypatch):
    (folder / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(folder)
    exec(compile(SNIPPETS[index], f"README.md snippet {index}", "exec"), {})


def test_quick_start_runs(tmp_path, monkeypatch, capsys):
    run_snippet(0, tmp_path, monkeypatch)
    assert "auroc" in capsys.readouterr().out
    assert Path("runs/quick/report.md").is_file()


def test_the_new_loss_is_trained_and_logged(tmp_path, monkeypatch):
    run_snippet(1, tmp_path, monkeypatch)
    row = json.loads(Path("runs/norm_penalty/metrics.jsonl").read_text().splitlines()[0])
    assert row["terms"]["norm_penalty"] > 0


def test_the_readme_shows_a_quick_start_and_a_loss():
    assert len(SNIPPETS) == 2
    assert len(SNIPPETS[0].splitlines()) <= 10
    function = SNIPPETS[1].split("\n\n\n")[1]
    assert len(function.splitlines()) <= 20
