"""Readings of unequal trust: each sample has its own weight."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(43)
rng = np.random.default_rng(43)
x = rng.uniform(-1, 1, size=(900, 10)).astype("float32")
trust = rng.choice([0.25, 1.0, 3.0], size=900).astype("float32")
y = np.digitize(x[:, 0] + x[:, 1] ** 2 + rng.normal(size=900) * 0.2 / trust, [-0.2, 0.3, 0.8])

model = nn.Sequential(
    nn.Linear(10, 40),
    nn.Tanh(),
    nn.LayerNorm(40, eps=1e-3),
    nn.Linear(40, 40),
    nn.Tanh(),
    nn.Linear(40, 4),
)


def glorot(layer):
    if type(layer) is nn.Linear:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)


model.apply(glorot)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, eps=1e-7)
cross_entropy = nn.CrossEntropyLoss(reduction="none")
dataset = TensorDataset(torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(trust))
for epoch in range(4):
    total = 0.0
    for inputs, labels, weights in DataLoader(dataset, batch_size=30, shuffle=True):
        losses = cross_entropy(model(inputs), labels)
        loss = (weights * losses).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    print("epoch", epoch + 1, "loss", total / 30)
