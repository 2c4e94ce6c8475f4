"""Siamese network: one encoder for both, the distance decides."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(89)
rng = np.random.default_rng(89)
kinds = rng.normal(size=(6, 20))
a, b = rng.integers(0, 6, 800), rng.integers(0, 6, 800)
b = np.where(rng.random(800) < 0.4, a, b)
left = (kinds[a] + 0.4 * rng.normal(size=(800, 20))).astype("float32")
right = (kinds[b] + 0.4 * rng.normal(size=(800, 20))).astype("float32")
same = (a == b).astype("float32")[:, None]
pairs = TensorDataset(*map(torch.from_numpy, (left, right, same)))


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 8))
        self.score = nn.Linear(8, 1)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)

    def forward(self, left, right):
        difference = torch.abs(self.encoder(left) - self.encoder(right))
        return torch.sigmoid(self.score(difference))


model = Siamese()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
bce = nn.BCELoss()
for epoch in range(3):
    for left, right, same in DataLoader(pairs, batch_size=25, shuffle=True):
        loss = bce(model(left, right), same)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("epoch", epoch + 1, "loss", loss.item())
