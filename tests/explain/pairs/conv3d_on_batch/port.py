"""Small volumes, a hand-written loop."""
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

torch.manual_seed(23)
rng = np.random.default_rng(23)
volumes = torch.tensor(rng.random((240, 10, 12, 14, 1)).astype("float32")).permute(0, 4, 1, 2, 3)
labels = (volumes[:, :, :5].mean(dim=(1, 2, 3, 4)) > volumes[:, :, 5:].mean(dim=(1, 2, 3, 4))).long()


class Net3d(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv3d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv3d(8, 16, 3, stride=(1, 2, 1))
        self.fc = nn.Linear(16, 2)
        for m in [self.conv1, self.conv2, self.fc]:
            torch.nn.init.xavier_uniform_(m.weight)
            torch.nn.init.zeros_(m.bias)

    def forward(self, x):
        x = F.max_pool3d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.conv2(x))
        return self.fc(x.mean((2, 3, 4)))


model = Net3d()
optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0, rho=0.9, eps=1e-6)
for epoch in range(3):
    order = np.random.permutation(len(volumes))
    for i in range(0, len(volumes), 16):
        batch = torch.from_numpy(order[i : i + 16])
        optimizer.zero_grad()
        loss = F.cross_entropy(model(volumes[batch]), labels[batch])
        loss.backward()
        optimizer.step()
    print("epoch", epoch, "loss", loss.item())
