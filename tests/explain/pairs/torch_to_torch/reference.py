"""Before the refactoring: all in one script."""
import numpy as np
import torch
from torch import nn

torch.manual_seed(101)
rng = np.random.default_rng(101)
x = torch.tensor(rng.normal(size=(640, 16)), dtype=torch.float32)
y = (x[:, :4].prod(dim=1) > 0).long()

model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.GELU(), nn.Dropout(0.2), nn.Linear(64, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
criterion = nn.CrossEntropyLoss(label_smoothing=0.05)

for epoch in range(4):
    model.train()
    for index in torch.randperm(len(x)).split(32):
        optimizer.zero_grad()
        loss = criterion(model(x[index]), y[index])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
    print(epoch, loss.item())
