"""Large batches in small pieces: four batches of 16 make one step."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(53)
rng = np.random.default_rng(53)
x = rng.normal(size=(1024, 20)).astype("float32")
y = np.argmax(x[:, :6] + 0.3 * rng.normal(size=(1024, 6)), axis=1)
loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=16, shuffle=True)

ACCUMULATE = 4


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(20, 48)
        self.second = nn.Linear(48, 24)
        self.third = nn.Linear(24, 6)
        for layer in (self.first, self.second, self.third):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = nn.functional.mish(self.first(x))
        x = nn.functional.hardsigmoid(self.second(x))
        return self.third(x)


net = Net()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
optimizer.zero_grad()
for epoch in range(5):
    for i, (xb, yb) in enumerate(loader):
        loss = criterion(net(xb), yb) / ACCUMULATE
        loss.backward()
        if (i + 1) % ACCUMULATE == 0:
            optimizer.step()
            optimizer.zero_grad()
    print("epoch", epoch + 1, "loss", loss.item() * ACCUMULATE)
