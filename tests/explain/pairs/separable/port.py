# A tiny MobileNet: depthwise and separable convolutions, ReLU6.
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(8)
rng = np.random.default_rng(8)
X = rng.normal(0.4, 0.3, size=(600, 20, 20, 3)).astype("float32")
Y = np.argmax(X[:, :, :, :].mean(axis=(1, 2)), axis=1)
X = torch.from_numpy(X.transpose(0, 3, 1, 2).copy())
Y = torch.from_numpy(Y)


class Separable(nn.Sequential):
    def __init__(self, channels_in, channels_out, padding, multiplier=1):
        middle = channels_in * multiplier
        super().__init__(
            nn.Conv2d(channels_in, middle, 3, padding=padding, groups=channels_in, bias=False),
            nn.Conv2d(middle, channels_out, 1),
        )
        # Keras: Glorot for the kernel (3, 3, channels_in, multiplier)
        limit = (6 / (9 * channels_in + 9 * multiplier)) ** 0.5
        nn.init.uniform_(self[0].weight, -limit, limit)


net = nn.Sequential(
    nn.Conv2d(3, 12, 3, padding=1),
    nn.ReLU6(),
    nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False),
    nn.BatchNorm2d(12, eps=0.001, momentum=0.01),
    nn.ReLU6(),
    Separable(12, 24, padding=0),
    nn.ReLU6(),
    Separable(24, 24, padding=1, multiplier=2),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Dropout(0.25),
    nn.Linear(24, 3),
)
for m in net.modules():
    if isinstance(m, nn.Linear) or (isinstance(m, nn.Conv2d) and m.groups == 1):
        nn.init.xavier_uniform_(m.weight)
        nn.init.zeros_(m.bias)
nn.init.xavier_uniform_(net[2].weight)

optimizer = torch.optim.Adamax(net.parameters(), lr=0.004, eps=1e-7)
criterion = nn.CrossEntropyLoss()
loader = DataLoader(TensorDataset(X[:500], Y[:500]), batch_size=25, shuffle=True)
for epoch in range(3):
    net.train()
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = criterion(net(xb), yb)
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(epoch, loss.item(), (net(X[500:]).argmax(1) == Y[500:]).float().mean().item())
