"""A custom training loop, with clipping by value."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(59)
rng = np.random.default_rng(59)
x = rng.normal(size=(768, 14)).astype("float32")
y = (np.tanh(x @ rng.normal(size=(14, 3))) + 0.05 * rng.normal(size=(768, 3))).astype("float32")
dataset = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.d1 = nn.Linear(14, 32)
        self.d2 = nn.Linear(32, 32)
        self.d3 = nn.Linear(32, 3)
        self.drop = nn.Dropout(0.1)
        for d in [self.d1, self.d2, self.d3]:
            nn.init.xavier_uniform_(d.weight)
            nn.init.zeros_(d.bias)

    def forward(self, x):
        x = torch.relu(self.d1(x))
        x = self.drop(x)
        x = torch.relu(self.d2(x))
        return torch.tanh(self.d3(x))


model = Regressor()
optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.7 ** (step / 32))
loader = DataLoader(dataset, batch_size=24, shuffle=True)


def train_step(xb, yb):
    model.train()
    prediction = model(xb)
    loss = ((prediction - yb) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_value_(model.parameters(), 0.02)
    optimizer.step()
    scheduler.step()
    return loss.detach()


for epoch in range(4):
    for xb, yb in loader:
        loss = train_step(xb, yb)
    print("epoch", epoch + 1, "loss", float(loss))
