"""Fraud or not: imbalanced, so the rare class counts more."""
import math

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(7)
rng = np.random.default_rng(7)
X = rng.normal(size=(1200, 15)).astype("float32")
y = (X[:, 0] * X[:, 1] + X[:, 2] > 1.6).astype("int32")  # shape (1200,), about one in ten
X, y = torch.from_numpy(X), torch.from_numpy(y)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(15, 32)
        self.bn = nn.BatchNorm1d(32, eps=1e-3, momentum=0.01)
        self.prelu = nn.PReLU(32, init=0.0)
        self.fc2 = nn.Linear(32, 16)
        self.fc3 = nn.Linear(16, 1)
        nn.init.kaiming_uniform_(self.fc1.weight, nonlinearity="relu")
        # lecun_normal is truncated
        std = math.sqrt(1 / 32) / 0.87962566103423978
        nn.init.trunc_normal_(self.fc2.weight, std=std, a=-2 * std, b=2 * std)
        nn.init.xavier_uniform_(self.fc3.weight)
        for fc in (self.fc1, self.fc2, self.fc3):
            fc.bias.data.zero_()

    def forward(self, x):
        x = self.prelu(self.bn(self.fc1(x)))
        x = torch.nn.functional.selu(self.fc2(x))
        return self.fc3(x).squeeze(-1)


model = Classifier()
criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(6.0))
optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
train_loader = DataLoader(TensorDataset(X[:960], y[:960].float()), batch_size=32, shuffle=True)
val_x, val_y = X[960:], y[960:]

for epoch in range(4):
    model.train()
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = ((model(val_x) > 0).int() == val_y).float().mean()
    print(f"epoch {epoch + 1}, loss {loss.item():.4f}, val accuracy {accuracy.item():.4f}")
