"""The same in PyTorch."""
import copy

import numpy as np
import torch
from torch import nn

rng = np.random.default_rng(71)
users, items = torch.from_numpy(rng.integers(0, 50, 1500)), torch.from_numpy(rng.integers(0, 80, 1500))
ratings = torch.from_numpy(rng.uniform(1, 5, 1500).astype("float32"))


class MatrixFactorization(nn.Module):
    def __init__(self):
        super().__init__()
        self.user = nn.Embedding(50, 8)
        self.item = nn.Embedding(80, 8)
        self.user_bias = nn.Embedding(50, 1)
        self.item_bias = nn.Embedding(80, 1)
        self.mu = nn.Parameter(torch.zeros(()))
        for factors in (self.user, self.item):
            nn.init.normal_(factors.weight, std=0.05)
        for bias in (self.user_bias, self.item_bias):
            nn.init.uniform_(bias.weight, -0.05, 0.05)

    def forward(self, u, i):
        product = (self.user(u) * self.item(i)).sum(1)
        return product + self.user_bias(u)[:, 0] + self.item_bias(i)[:, 0] + self.mu


model = MatrixFactorization()
average = copy.deepcopy(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
for epoch in range(5):
    for batch in torch.randperm(1500).split(100):
        loss = nn.functional.mse_loss(model(users[batch], items[batch]), ratings[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for kept, new in zip(average.parameters(), model.parameters()):
                kept.mul_(0.9).add_(new, alpha=0.1)
    print(epoch, loss.item())
