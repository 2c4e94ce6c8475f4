"""Tabular regression; the weights are averaged over the steps (EMA)."""
import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(41)
rng = np.random.default_rng(41)
features = rng.normal(loc=3.0, scale=[1, 5, 0.2, 10, 2, 1, 1, 4], size=(1000, 8))
target = features @ rng.normal(size=8) / 4 + np.sin(features[:, 0]) + 0.1 * rng.normal(size=1000)

mean, std = features[:800].mean(axis=0), features[:800].std(axis=0)
features = (features - mean) / std
X = torch.tensor(features, dtype=torch.float32)
y = torch.tensor(target, dtype=torch.float32).reshape(-1, 1)
train_loader = DataLoader(TensorDataset(X[:800], y[:800]), batch_size=40, shuffle=True)

model = nn.Sequential(
    nn.Linear(8, 64),
    nn.Softplus(),
    nn.Linear(64, 64),
    nn.Softplus(),
    nn.Linear(64, 1),
)
for layer in model:
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.constant_(layer.bias, 0)

averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.98))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
mse = nn.MSELoss()

for epoch in range(5):
    for xb, yb in train_loader:
        optimizer.zero_grad()
        loss = mse(model(xb), yb)
        loss.backward()
        optimizer.step()
        averaged.update_parameters(model)
    print(f"Epoch {epoch + 1}: {loss.item():.4f}")

averaged.eval()
with torch.no_grad():
    prediction = averaged(X[800:])
    print("test mse", mse(prediction, y[800:]).item(), "mae", (prediction - y[800:]).abs().mean().item())
