"""PyTorch Geometric worker of ``throughput.py --task epoch``; runs in its own environment.

The network of Hu et al. (ICLR 2020) as their code computes it: embeddings, loops as edges,
messages h_j + e_ij over an edge index, BatchNorm, dropout, mean pooling, one linear head;
molecules are featurised once and collated by PyTorch Geometric's loader.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import MessagePassing, global_mean_pool
from torch_geometric.utils import add_self_loops
from worker import serve

FOLDER, NAME = sys.argv[1:3]
LOOP_TYPE, TYPES, NUMBERS = 4, 6, 119


class GINConv(MessagePassing):
    """MLP(sum_j h_j + e_ij), with loops."""

    def __init__(self, weights):
        super().__init__(aggr="add")
        table = weights["bonds.kernel"]
        self.kinds = nn.Embedding.from_pretrained(table[:TYPES], freeze=False)
        self.directions = nn.Embedding.from_pretrained(table[TYPES:], freeze=False)
        self.up = linear(weights, "up")
        self.down = linear(weights, "down")

    def forward(self, h, edge_index, codes):
        edge_index, _ = add_self_loops(edge_index, num_nodes=len(h))
        loops = torch.zeros(len(h), 2, dtype=codes.dtype)
        loops[:, 0] = LOOP_TYPE
        codes = torch.cat([codes, loops])
        edge = self.kinds(codes[:, 0]) + self.directions(codes[:, 1])
        return self.down(torch.relu(self.up(self.propagate(edge_index, h=h, edge=edge))))

    def message(self, h_j, edge):
        return h_j + edge


def linear(weights, name):
    """nn.Linear with given weights."""
    kernel, bias = weights[f"{name}.kernel"], weights[f"{name}.bias"]
    layer = nn.Linear(*kernel.shape)
    layer.weight.data, layer.bias.data = kernel.T.clone(), bias.clone()
    return layer


class Network(nn.Module):
    """The encoder and its head."""

    def __init__(self, weights, layers, dropout):
        super().__init__()
        table = weights["atoms.atoms.kernel"]
        self.numbers = nn.Embedding.from_pretrained(table[:NUMBERS], freeze=False)
        self.tags = nn.Embedding.from_pretrained(table[NUMBERS:], freeze=False)
        starts = [f"atoms.layer_{i}." for i in range(layers)]
        own = [{k[len(s) :]: v for k, v in weights.items() if k.startswith(s)} for s in starts]
        self.convolutions = nn.ModuleList(GINConv(w) for w in own)
        self.norms = nn.ModuleList(nn.BatchNorm1d(table.shape[1]) for _ in range(layers))
        self.head, self.dropout = linear(weights, "head"), dropout

    def forward(self, data):
        h = self.numbers(data.x[:, 0]) + self.tags(data.x[:, 1])
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms)):
            h = norm(convolution(h, data.edge_index, data.edge_attr))
            h = h if i == len(self.norms) - 1 else torch.relu(h)
            h = F.dropout(h, self.dropout, self.training)
        return self.head(global_mean_pool(h, data.batch))


def molecules(arrays):
    """One Data a molecule."""
    atoms, bonds = (np.concatenate([[0], np.cumsum(arrays[k])]) for k in ("n_atoms", "n_bonds"))
    ends = torch.tensor(np.stack([arrays["senders"], arrays["receivers"]])).long()
    x, codes = torch.tensor(arrays["atoms"]).long(), torch.tensor(arrays["bonds"]).long()
    labels = torch.tensor(arrays["labels"])
    return [
        Data(
            x=x[atoms[i] : atoms[i + 1]],
            edge_index=ends[:, bonds[i] : bonds[i + 1]],
            edge_attr=codes[bonds[i] : bonds[i + 1]],
            y=labels[i : i + 1],
        )
        for i in range(len(labels))
    ]


def main():
    """Does one epoch for every line on standard input."""
    arrays = dict(np.load(f"{FOLDER}/problem.npz"))
    weights = {k[2:]: torch.tensor(v) for k, v in arrays.items() if k.startswith("p.")}
    model = Network(weights, int(arrays["layers"]), float(arrays["dropout"])).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=float(arrays["learning_rate"]))
    loader = DataLoader(molecules(arrays), batch_size=int(arrays["batch"]), shuffle=False)

    def epoch():
        for data in loader:
            optimiser.zero_grad()
            known = ~torch.isnan(data.y)
            losses = F.binary_cross_entropy_with_logits(
                model(data), torch.where(known, data.y, 0.0), reduction="none"
            )
            loss = (losses * known).sum() / known.sum()
            loss.backward()
            optimiser.step()
        return loss.item()

    serve(epoch)


if __name__ == "__main__":
    main()
