"""PyTorch Geometric worker of ``throughput.py``; runs in its own environment."""

import sys
from pathlib import Path

FOLDER, NAME = sys.argv[1:3]
USE_CSR = NAME.endswith("CSR")
if USE_CSR:
    # The strongest form of the baseline also keeps its heap, as molrel does.
    sys.path.append(str(Path(__file__).parents[1]))
    from molrel.memory import keep_heap

    keep_heap()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch_geometric.nn import MessagePassing, global_mean_pool  # noqa: E402
from worker import serve  # noqa: E402


class Aggregate(MessagePassing):
    """sum_j (h_j + b_ij) over an edge index."""

    def __init__(self):
        super().__init__(aggr="add")

    def forward(self, h, edge_index, bonds):
        return self.propagate(edge_index, h=h, bonds=bonds)

    def message(self, h_j, bonds):
        return h_j + bonds


class Siamese(nn.Module):
    """The benchmark's GIN and head, with the weights of the problem file."""

    def __init__(self, arrays):
        super().__init__()
        self.layers = int(arrays["layers"])
        self.weights = nn.ParameterDict(
            {
                k.replace(".", "_"): nn.Parameter(torch.tensor(arrays[k]))
                for k in arrays.files
                if k.endswith(("kernel", "bias"))
            }
        )
        self.aggregate = Aggregate()

    def dense(self, name, x, bias=True):
        out = x @ self.weights[f"{name}_kernel"]
        return out + self.weights[f"{name}_bias"] if bias else out

    def encode(self, g):
        h = self.dense("atoms_in", g["atoms"])
        for layer in range(self.layers):
            name = f"layer_{layer}"
            if USE_CSR:
                summed = g["adjacency"] @ h + self.dense(f"{name}_bonds", g["bond_sums"], False)
            else:
                bonds = self.dense(f"{name}_bonds", g["bonds"], False)
                summed = self.aggregate(h, g["edge_index"], bonds)
            h = self.dense(f"{name}_down", torch.relu(self.dense(f"{name}_up", h + summed)))
            h = torch.relu(h) if layer < self.layers - 1 else h
        return global_mean_pool(h, g["batch"], g["n_graphs"])

    def forward(self, left, right):
        a, b = self.encode(left), self.encode(right)
        pair = torch.cat([a + b, a * b, (a - b).abs()], dim=-1)
        return self.dense("head_1", torch.relu(self.dense("head_0", pair)))[:, 0]


def collate(arrays, molecules):
    """All molecules of one side as one disconnected graph."""
    atom_start = np.concatenate([[0], np.cumsum(arrays["n_atoms"])])
    bond_start = np.concatenate([[0], np.cumsum(arrays["n_bonds"])])
    atoms = np.concatenate([np.arange(atom_start[m], atom_start[m + 1]) for m in molecules])
    bonds = np.concatenate([np.arange(bond_start[m], bond_start[m + 1]) for m in molecules])
    n_atoms, n_bonds = arrays["n_atoms"][molecules], arrays["n_bonds"][molecules]
    shift = np.repeat(np.concatenate([[0], np.cumsum(n_atoms)[:-1]]), n_bonds)
    senders = arrays["senders"][bonds] + shift
    receivers = arrays["receivers"][bonds] + shift
    bond_features = torch.tensor(arrays["bonds"][bonds])
    total = len(atoms)
    graph = {
        "atoms": torch.tensor(arrays["atoms"][atoms]),
        "bonds": bond_features,
        "edge_index": torch.tensor(np.stack([senders, receivers])),
        "batch": torch.tensor(np.repeat(np.arange(len(molecules)), n_atoms)),
        "n_graphs": len(molecules),
    }
    if USE_CSR:
        index = graph["edge_index"].flip(0)
        adjacency = torch.sparse_coo_tensor(index, torch.ones(index.shape[1]), (total, total))
        graph["adjacency"] = adjacency.coalesce().to_sparse_csr()
        # Bond terms are summed once; they do not depend on the weights.
        graph["bond_sums"] = torch.zeros(total, bond_features.shape[1]).index_add_(
            0, graph["edge_index"][1], bond_features
        )
    return graph


def main():
    """Does one step for every line on standard input."""
    arrays = np.load(f"{FOLDER}/problem.npz")
    arrays_in_memory = {k: arrays[k] for k in arrays.files}
    left, right = (collate(arrays_in_memory, arrays["pairs"][:, i]) for i in (0, 1))
    labels = torch.tensor(arrays["labels"])
    model = Siamese(arrays)
    optimiser = torch.optim.Adam(model.parameters(), lr=float(arrays["learning_rate"]))
    loss_fn = nn.BCEWithLogitsLoss()

    def step():
        optimiser.zero_grad()
        loss = loss_fn(model(left, right), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    serve(step)


if __name__ == "__main__":
    main()
