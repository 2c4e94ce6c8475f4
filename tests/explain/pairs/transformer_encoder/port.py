"""A transformer's block over sensor readings, before a linear layer."""
import math

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)
rng = np.random.default_rng(3)
D, HEADS, LENGTH = 16, 4, 10
x = rng.normal(size=(320, LENGTH, 6)).astype("float32")
y = np.argmax(x.max(axis=1)[:, :4], axis=1)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(6, D)
        layer = nn.TransformerEncoderLayer(D, HEADS, 48, dropout=0.1, activation="relu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.out = nn.Linear(D, 4)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)
            if isinstance(m, nn.MultiheadAttention):
                limit = math.sqrt(6 / (D + D))
                nn.init.uniform_(m.in_proj_weight, -limit, limit)

    def forward(self, x):
        return self.out(self.encoder(self.project(x)).mean(dim=1))


model = Classifier()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
loss_fn = nn.CrossEntropyLoss()
loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=32)
for epoch in range(2):
    model.train()
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(xb), yb)
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
