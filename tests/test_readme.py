"""What README and docs print runs as it is printed, and their links lead somewhere."""

import itertools
import json
import re
import shlex
from pathlib import Path

import pytest

from molrel.cli import main

ROOT = Path(__file__).parents[1]
README, EXTENDING = ((ROOT / p).read_text() for p in ("README.md", "docs/extending.md"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])


def snippets(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run_snippet(text: str) -> None:
    exec(compile(text, "README.md", "exec"), {})


def test_quick_start_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    molecules = ["CCO", "CCN", "CCC", "c1ccccc1", "CC(=O)O", "CCCC", "CCS", "CCCl", "CCCN", "CO"]
    pairs = itertools.combinations(molecules, 2)
    rows = [f"{a},{b},{(len(a) + len(b)) % 2}" for a, b in pairs]
    Path("pairs.csv").write_text("\n".join(["drug,partner,interacts", *rows]) + "\n")
    code = snippets(README)[0]
    assert len([line for line in code.splitlines() if line]) <= 8
    run_snippet(code)
    assert "score" in capsys.readouterr().out
    assert Path("runs/quick/report.md").is_file()


def test_a_loss_weight_over_seeds_is_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = snippets(README)[1]
    assert len([line for line in code.splitlines() if line]) <= 6
    small = code.replace("distrans_mixtures", "test").replace("range(8)", "range(2)")
    assert small.count("test") == 1 and "range(2)" in small
    run_snippet(small)
    out = capsys.readouterr().out
    assert "method.weights.guidance" in out and "diff_low" in out


def test_the_new_loss_is_trained_resumed_and_predicts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("norm_penalty.py").write_text(snippets(EXTENDING)[0])
    Path("pairs.csv").write_text("smiles_a,smiles_b\nCCO,CCC\nCC,CCCC\n")
    commands = [
        shlex.split(c) for c in re.findall(r"^    molrel (.*norm_penalty.*)$", EXTENDING, re.M)
    ]
    train, resume, predict, ablate = commands
    assert ablate[0] == "ablate"  # examples/own_method.py is swept in test_examples.py
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


def test_a_pair_is_followed_through_at_most_ten_files_each_once():
    rows = re.findall(r"^\| \d+ \| `([^`]+)` \| (.*) \|$", EXTENDING, re.M)
    files = [path for path, _ in rows]
    assert 6 <= len(files) <= 10 and len(set(files)) == len(files)
    for path, text in rows:
        source = (ROOT / "molrel" / path).read_text()
        for name in re.findall(r"`(\w+)`", text):
            assert re.search(rf"^\s*(def|class) {name}\b", source, re.M), (path, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), f"{page.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", goal.read_text(), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
            assert anchor in anchors, f"{page.name}: {target}"
