import numpy as np
import torch
from torch import nn

rng = np.random.default_rng(12)
basis = rng.normal(size=(3, 20))
x = torch.from_numpy(np.tanh(rng.normal(size=(256, 3)) @ basis).astype("float32"))

model = nn.Sequential(
    nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 20)
)
for layer in model:
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
criterion = nn.MSELoss()

for epoch in range(4):
    for index in torch.randperm(len(x)).split(32):
        clean = x[index]
        kept = torch.rand_like(clean) >= 0.1
        spoilt = (clean + torch.normal(0.0, 0.2, clean.shape)) * kept
        optimizer.zero_grad()
        loss = criterion(model(spoilt), clean)
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
