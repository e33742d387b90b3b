"""The README's Python runs as it is printed."""

import json
import re
import shlex
from pathlib import Path

from molrel.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run_snippet(index, folder, monkeypatch):
    (folder / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(folder)
    exec(compile(SNIPPETS[index], f"README.md snippet {index}", "exec"), {})


def test_quick_start_runs(tmp_path, monkeypatch, capsys):
    run_snippet(0, tmp_path, monkeypatch)
    assert "auroc" in capsys.readouterr().out
    assert Path("runs/quick/report.md").is_file()


def test_the_new_loss_is_trained_resumed_and_predicts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("norm_penalty.py").write_text(SNIPPETS[1])
    Path("pairs.csv").write_text("smiles_a,smiles_b\nCCO,CCC\nCC,CCCC\n")
    commands = [
        shlex.split(c) for c in re.findall(r"^    molrel (.*norm_penalty.*)$", README, re.M)
    ]
    train, resume, predict = commands
    steps = ["--train.steps", "4", "--train.evaluate-every", "2"]
    assert main([*train, *steps]) == 0
    assert main([*resume, *steps]) == 0
    row = json.loads(Path("runs/norm_penalty/metrics.jsonl").read_text().splitlines()[0])
    assert row["terms"]["norm_penalty"] > 0
    assert main([part for part in predict if part != "--trust-code"]) == 2
    assert main(predict) == 0
    assert len(Path("scored.csv").read_text().splitlines()) == 3
    record = json.loads(Path("runs/norm_penalty/config.json").read_text())
    assert record["experiment"]["method"]["type"] == "config.py:NormPenalty"
    assert record["experiment"]["method"]["weight"] == 0.1


def test_the_readme_shows_a_quick_start_and_a_loss():
    assert len(SNIPPETS) == 2
    assert len(SNIPPETS[0].splitlines()) <= 10
