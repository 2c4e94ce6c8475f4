import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def load():
    rng = np.random.default_rng(21)
    x = rng.normal(size=(192, 12, 12, 3)).astype("float32")
    y = (x[:, :6].mean(axis=(1, 2, 3)) > x[:, 6:].mean(axis=(1, 2, 3))).astype("int64")
    return TensorDataset(torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(8, eps=1e-3, momentum=0.01), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 2))
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.head(self.base(x))


def train(model, loader, optimizer, epochs, frozen):
    criterion = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        model.train()
        if frozen:
            model.base.eval()
        for xb, yb in loader:
            optimizer.zero_grad()
            loss = criterion(model(xb), yb)
            loss.backward()
            optimizer.step()
        print(epoch, loss.item())


if __name__ == "__main__":
    loader = DataLoader(load(), batch_size=32, shuffle=True)
    net = Net()
    net.base.requires_grad_(False)
    train(net, loader, torch.optim.SGD(net.head.parameters(), lr=0.05, momentum=0.9), 3, frozen=True)

    # Keras trains with the batch's statistics now: training=False was the mode of the call above, and fit has another
    net.base.requires_grad_(True)
    train(net, loader, torch.optim.SGD(net.parameters(), lr=0.01), 2, frozen=False)
