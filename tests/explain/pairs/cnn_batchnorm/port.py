"""Strided CNN with batch normalisation on small grey images."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)
rng = np.random.default_rng(3)
images = rng.integers(0, 256, (960, 28, 28, 1), dtype=np.uint8)
brightness = images[:, 8:20, 8:20, 0].mean(axis=(1, 2))
labels = np.digitize(brightness, np.quantile(brightness, np.arange(0.1, 1.0, 0.1)))
x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0
y = torch.from_numpy(labels)

train_loader = DataLoader(TensorDataset(x[:800], y[:800]), batch_size=32, shuffle=True)
val_loader = DataLoader(TensorDataset(x[800:], y[800:]), batch_size=32)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(16, eps=1e-3, momentum=0.01)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, bias=False)
        self.bn2 = nn.BatchNorm2d(32, eps=1e-3, momentum=0.01)
        self.fc1 = nn.Linear(32 * 7 * 7, 64)
        self.fc2 = nn.Linear(64, 10)
        self.apply(self.init_like_keras)

    @staticmethod
    def init_like_keras(m):
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(m.weight)
            if m.bias is not None:
                nn.init.zeros_(m.bias)

    def forward(self, x):
        # "same" at stride 2 pads one row below and one column to the right
        x = F.pad(x, (0, 1, 0, 1))
        x = self.bn1(self.conv1(x))
        x = F.leaky_relu(x, 0.3)
        x = F.pad(x, (0, 1, 0, 1))
        x = F.leaky_relu(self.bn2(self.conv2(x)), negative_slope=0.3)
        # channels last before flattening, as Keras has them
        x = x.permute(0, 2, 3, 1).flatten(1)
        x = F.relu(self.fc1(x))
        return self.fc2(x)


net = Net()
loss_fn = nn.CrossEntropyLoss()
opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, nesterov=True)

for epoch in range(4):
    net.train()
    running = 0.0
    for xb, yb in train_loader:
        opt.zero_grad()
        loss = loss_fn(net(xb), yb)
        loss.backward()
        opt.step()
        running += loss.item() * len(yb)
    net.eval()
    with torch.no_grad():
        right = sum((net(xb).argmax(1) == yb).sum().item() for xb, yb in val_loader)
    print(f"epoch {epoch + 1} loss {running / 800:.4f} val accuracy {right / 160:.4f}")
