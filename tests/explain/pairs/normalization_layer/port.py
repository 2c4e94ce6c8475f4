"""The data's scale is taken out before the model sees it."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(103)
rng = np.random.default_rng(103)
x = rng.gamma(2.0, [1.0, 10.0, 100.0, 0.1, 5.0], size=(900, 5)).astype("float32")
y = (np.log(x).sum(axis=1, keepdims=True) / 5 + 0.05 * rng.normal(size=(900, 1))).astype("float32")
mean, variance = x[:720].mean(axis=0), x[:720].var(axis=0)
x = (x - mean) / np.sqrt(variance)

train = DataLoader(TensorDataset(torch.tensor(x[:720]), torch.tensor(y[:720])), batch_size=36, shuffle=True)
model = nn.Sequential(nn.Linear(5, 40), nn.Sigmoid(), nn.Linear(40, 1))
for m in (model[0], model[2]):
    nn.init.xavier_uniform_(m.weight)
    nn.init.zeros_(m.bias)
optimizer = torch.optim.RMSprop(model.parameters(), lr=0.005, alpha=0.9, eps=1e-7)
for epoch in range(4):
    for xb, yb in train:
        optimizer.zero_grad()
        loss = (model(xb) - yb).abs().mean()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        error = (model(torch.tensor(x[720:])) - torch.tensor(y[720:])).abs().mean()
    print("epoch", epoch + 1, "val mae", error.item())
