"""Transfer learning: a trained base with frozen weights (and frozen BatchNorm), a new head."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(71)
rng = np.random.default_rng(71)
x = rng.normal(size=(480, 14, 14, 3)).astype("float32")
y = np.argmax(x[:, :7].mean(axis=(1, 2)), axis=1)
# as if loaded from a file
trained = {
    "kernel1": rng.normal(size=(3, 3, 3, 12)) * 0.2, "bias1": rng.normal(size=12) * 0.1,
    "gamma": rng.uniform(0.5, 1.5, 12), "beta": rng.normal(size=12) * 0.1,
    "mean": rng.normal(size=12) * 0.2, "variance": rng.uniform(0.5, 2.0, 12),
    "kernel2": rng.normal(size=(3, 3, 12, 16)) * 0.1, "bias2": rng.normal(size=16) * 0.1,
}
trained = {name: torch.tensor(value, dtype=torch.float32) for name, value in trained.items()}


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3)
        self.bn = nn.BatchNorm2d(12, eps=1e-3, momentum=0.01)
        self.conv2 = nn.Conv2d(12, 16, 3)

    def forward(self, x):
        x = torch.relu(self.bn(self.conv1(x)))
        return torch.relu(self.conv2(x))


class Transfer(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base
        self.fc1 = nn.Linear(16, 24)
        self.fc2 = nn.Linear(24, 3)
        for fc in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(fc.weight)
            nn.init.zeros_(fc.bias)

    def forward(self, x):
        h = self.base(x).amax(dim=(2, 3))
        return self.fc2(torch.relu(self.fc1(h)))


base = Base()
state = {
    "conv1.weight": trained["kernel1"].permute(3, 2, 0, 1),
    "conv1.bias": trained["bias1"],
    "bn.weight": trained["gamma"],
    "bn.bias": trained["beta"],
    "bn.running_mean": trained["mean"],
    "bn.running_var": trained["variance"],
    "conv2.weight": trained["kernel2"].permute(3, 2, 0, 1),
    "conv2.bias": trained["bias2"],
}
base.load_state_dict(state, strict=False)
for p in base.parameters():
    p.requires_grad = False

model = Transfer(base)
optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3, eps=1e-7)
criterion = nn.CrossEntropyLoss()
data = TensorDataset(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), torch.from_numpy(y))
loader = DataLoader(data, batch_size=24, shuffle=True)
for epoch in range(3):
    model.train()
    model.base.eval()  # its BatchNorm keeps its own statistics
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1} loss {loss.item():.4f}")
