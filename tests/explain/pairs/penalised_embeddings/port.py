import numpy as np
import torch
from torch import nn

torch.manual_seed(3)
rng = np.random.default_rng(3)
users, items = 40, 60
u = torch.from_numpy(rng.integers(0, users, 800))
i = torch.from_numpy(rng.integers(0, items, 800))
r = (1 + 4 * torch.sigmoid(torch.sin(u) + torch.cos(i))).float()


class NeuMF(nn.Module):
    def __init__(self):
        super().__init__()
        self.ue, self.ie = nn.Embedding(users, 8), nn.Embedding(items, 8)
        self.ub, self.ib = nn.Embedding(users, 1), nn.Embedding(items, 1)
        self.mlp = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
        for e in (self.ue, self.ie):
            nn.init.normal_(e.weight, std=0.05)
        for b in (self.ub, self.ib):
            nn.init.zeros_(b.weight)
        for l in (self.mlp[0], self.mlp[2]):
            nn.init.xavier_uniform_(l.weight)
            nn.init.zeros_(l.bias)

    def forward(self, u, i):
        p, q = self.ue(u), self.ie(i)
        dot = (p * q).sum(-1)
        return dot + self.ub(u).squeeze(-1) + self.ib(i).squeeze(-1) + self.mlp(torch.cat([p, q], -1)).squeeze(-1)


model = NeuMF()
optimizer = torch.optim.Adagrad(model.parameters(), lr=0.05, initial_accumulator_value=0.1, eps=1e-7)
for epoch in range(2):
    for idx in torch.randperm(800).split(64):
        pred = model(u[idx], i[idx])
        loss = ((pred - r[idx]) ** 2).mean()
        loss = loss + 1e-4 * (model.ue.weight.pow(2).sum() + model.ie.weight.pow(2).sum())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(loss.item())
