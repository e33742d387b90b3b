"""The encoders of Hu et al. in PyTorch Geometric: python hu_reference.py arrays.npz results.npz

Run by test_hu.py in an environment that has PyTorch Geometric. ``arrays.npz`` holds the atoms'
and bonds' codes, the kind and depth, and every parameter by its path in our tree.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import add_self_loops, softmax

LOOP_TYPE = 4


class Convolution(MessagePassing):
    """One layer; ``tables`` embed bond type and direction, ``p`` holds its linear maps."""

    def __init__(self, kind, p):
        super().__init__(aggr="mean" if kind == "sage" else "add")
        self.kind, self.p = kind, p

    def linear(self, name, x):
        return x @ self.p[f"{name}.kernel"] + self.p[f"{name}.bias"]

    def forward(self, x, edge_index, codes):
        n = len(x)
        index, _ = add_self_loops(edge_index, num_nodes=n)
        loops = torch.zeros(n, 2, dtype=torch.long)
        loops[:, 0] = LOOP_TYPE
        codes = torch.cat([codes, loops])
        tables = self.p["bonds.kernel"]
        edge = F.embedding(codes[:, 0], tables[:6]) + F.embedding(codes[:, 1], tables[6:])
        x = x if self.kind == "gin" else self.linear("linear", x)
        norm = torch.ones(index.shape[1], dtype=x.dtype)
        if self.kind == "gcn":
            degree = torch.bincount(index[0], minlength=n).to(x.dtype)
            norm = (degree[index[0]] * degree[index[1]]).rsqrt()
        out = self.propagate(index, x=x, edge=edge, norm=norm, rows=index[0])
        if self.kind == "gin":
            return self.linear("down", torch.relu(self.linear("up", out)))
        if self.kind == "sage":
            return F.normalize(out, p=2, dim=-1)
        if self.kind == "gat":
            return out.view(n, *self.p["attention"].shape[1:]).mean(dim=1) + self.p["bias"]
        return out

    def message(self, x_i, x_j, edge, norm, rows):
        sent = norm[:, None] * (x_j + edge)
        if self.kind != "gat":
            return sent
        a = self.p["attention"]
        sent, own = sent.view(-1, *a.shape[1:]), x_i.view(-1, *a.shape[1:])
        alpha = F.leaky_relu((own * a[0]).sum(-1) + (sent * a[1]).sum(-1), 0.2)
        return (sent * softmax(alpha, rows)[..., None]).flatten(1)


def encode(arrays, train):
    """Atoms [n, width] of the last layer, and the running averages after a training pass."""
    p = {k: torch.tensor(v) for k, v in arrays.items() if "." in k}
    atoms, bonds = (torch.tensor(arrays[k]).long() for k in ("atoms", "bonds"))
    edges = torch.tensor(np.stack([arrays["senders"], arrays["receivers"]])).long()
    table = p["atoms.kernel"]
    h = F.embedding(atoms[:, 0], table[:119]) + F.embedding(atoms[:, 1], table[119:])
    depth, averages = int(arrays["depth"]), {}
    for i in range(depth):
        own = {
            k.removeprefix(f"layer_{i}."): v for k, v in p.items() if k.startswith(f"layer_{i}.")
        }
        h = Convolution(str(arrays["kind"]), own)(h, edges, bonds)
        norm = torch.nn.BatchNorm1d(h.shape[1]).to(h.dtype).train(train)
        norm.weight.data, norm.bias.data = p[f"norm_{i}.scale"], p[f"norm_{i}.bias"]
        h = norm(h)
        averages |= {f"norm_{i}.mean": norm.running_mean, f"norm_{i}.var": norm.running_var}
        h = h if i == depth - 1 else torch.relu(h)
    return h.detach().numpy(), {k: v.numpy() for k, v in averages.items()}


def main():
    arrays = dict(np.load(sys.argv[1]))
    trained, averages = encode(arrays, True)
    np.savez(sys.argv[2], plain=encode(arrays, False)[0], trained=trained, **averages)


if __name__ == "__main__":
    main()
