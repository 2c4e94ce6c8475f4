"""Weight decay the Keras way: L2 on the kernels, a little L1 on the last one."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(47)
rng = np.random.default_rng(47)
x = rng.normal(size=(800, 12, 12, 1)).astype("float32")
y = (x[:, 3:9, 3:9, 0].sum(axis=(1, 2)) > 0).astype(int) + (x[:, :, 0, 0].sum(axis=1) > 0)
data = TensorDataset(torch.from_numpy(x.transpose(0, 3, 1, 2)), torch.from_numpy(y))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3)
        self.conv2 = nn.Conv2d(8, 8, 3)
        self.fc1 = nn.Linear(8 * 8 * 8, 32)
        self.fc2 = nn.Linear(32, 3)
        for m in (self.conv1, self.conv2, self.fc1, self.fc2):
            nn.init.xavier_uniform_(m.weight)
            nn.init.zeros_(m.bias)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        x = x.permute(0, 2, 3, 1).reshape(x.size(0), -1)
        x = torch.relu(self.fc1(x))
        return self.fc2(x)

    def penalty(self):
        l2 = sum(m.weight.square().sum() for m in (self.conv1, self.conv2, self.fc1))
        l1 = self.fc2.weight.abs().sum()
        return 2e-3 * l2 + 1e-4 * l1


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)
criterion = nn.CrossEntropyLoss()
for epoch in range(3):
    model.train()
    for xb, yb in DataLoader(data, batch_size=32, shuffle=True):
        optimizer.zero_grad()
        loss = criterion(model(xb), yb) + model.penalty()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1} loss {loss.item():.4f}")
