import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(73)
rng = np.random.default_rng(73)
x = rng.normal(size=(640, 30)).astype("float32")
y = np.argmax(x[:, ::6], axis=1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(30, 64), nn.Linear(64, 32), nn.Linear(32, 5)])
        self.norm = nn.BatchNorm1d(64, eps=1e-3, momentum=0.05)
        nn.init.kaiming_uniform_(self.layers[0].weight, nonlinearity="relu")
        nn.init.xavier_uniform_(self.layers[1].weight)
        nn.init.xavier_uniform_(self.layers[2].weight)
        for layer in self.layers:
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = torch.relu(self.norm(self.layers[0](x)))
        x = nn.functional.gelu(self.layers[1](x), approximate="none")
        return self.layers[2](x)


net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
criterion = nn.CrossEntropyLoss()
loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=64, shuffle=True)
for epoch in range(4):
    net.train()
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = criterion(net(xb), yb)
        loss.backward()
        optimizer.step()
    print(f"{epoch + 1}/4 loss {loss.item():.4f}")
