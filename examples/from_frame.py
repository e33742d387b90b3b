"""From a DataFrame to predictions and embeddings.

    python examples/from_frame.py

About a minute on two CPU cores.
"""

import itertools
from dataclasses import replace

import pandas as pd

import molrel

molecules = ["CCO", "CCN", "CCC", "c1ccccc1", "CC(=O)O", "CCCC", "CCS", "CCCl"]
rows = [(a, b, (len(a) + len(b)) % 2) for a, b in itertools.combinations(molecules, 2)] * 3
frame = pd.DataFrame(rows, columns=["drug", "partner", "interacts"])

if __name__ == "__main__":
    config = molrel.load_preset("siamese")
    config = replace(config, train=replace(config.train, steps=20, evaluate_every=10))
    pairs = molrel.from_frame(frame, smiles=("drug", "partner"), labels="interacts")
    molrel.run(config, "runs/from_frame", source=pairs)
    model = molrel.load_run("runs/from_frame")
    print(model.predict([("CCO", "CCBr"), ("CCO", "C1CC")]).to_string())
    print(model.embed(["CCO", "CCN"]).shape)  # seeds, molecules, width
