"""Batches made on the fly."""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

np.random.seed(67)
torch.manual_seed(67)
rng = np.random.default_rng(67)
y = rng.integers(0, 5, 620)
x = rng.gamma(2.0, 1.0, size=(620, 64)).astype("float32")
x[np.arange(620)[:, None], 12 * y[:, None] + np.arange(6)] *= 3


def batches(x, y, batch_size):
    order = np.arange(len(x))
    np.random.shuffle(order)
    for i in range(0, len(x), batch_size):
        index = order[i : i + batch_size]
        yield torch.from_numpy(np.log1p(x[index])[:, None]), torch.from_numpy(y[index])


class SpectraNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(1, 16, 7, stride=2)
        self.conv2 = nn.Conv1d(16, 32, 3, dilation=2)
        self.fc = nn.Linear(8 * 32, 5)
        for m in self.children():
            nn.init.xavier_uniform_(m.weight)
            nn.init.zeros_(m.bias)

    def forward(self, x):
        x = self.conv1(F.pad(x, (2, 3)))
        x = F.leaky_relu(x, 0.1)
        x = F.max_pool1d(x, 2)
        x = F.relu(self.conv2(F.pad(x, (4, 0))))  # causal
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = F.avg_pool1d(x, 4)
        return self.fc(x.transpose(1, 2).flatten(1))


net = SpectraNet()
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, eps=1e-7)
for epoch in range(4):
    for xb, yb in batches(x, y, 40):
        loss = F.cross_entropy(net(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(net.parameters(), clip_value=0.05)
        optimizer.step()
    print("epoch", epoch + 1, "loss", round(loss.item(), 4))
