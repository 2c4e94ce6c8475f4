"""Triplet embedding of handwriting-like strokes, PyTorch."""
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

WRITERS, PER_WRITER, SIZE, MARGIN = 10, 12, 20, 0.4
BATCH, STEPS, EPOCHS = 24, 20, 5


def signatures(seed=71):
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, 60)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    images = np.zeros((WRITERS, PER_WRITER, SIZE, SIZE, 1))
    for w in range(WRITERS):
        freq, phase = rng.uniform(1, 4, 2), rng.uniform(0, 2 * np.pi, 2)
        for k in range(PER_WRITER):
            f, p = freq + 0.1 * rng.normal(size=2), phase + 0.2 * rng.normal(size=2)
            py = SIZE / 2 + 7 * np.sin(2 * np.pi * f[0] * t + p[0])
            px = SIZE / 2 + 7 * np.cos(2 * np.pi * f[1] * t + p[1])
            d2 = (yy[..., None] - py) ** 2 + (xx[..., None] - px) ** 2
            images[w, k, ..., 0] = np.exp(-d2 / 1.5).max(-1)
    images = (images + 0.1 * rng.normal(size=images.shape)).astype("float32")
    return torch.from_numpy(images).movedim(-1, 2)  # writers, samples, 1, h, w


def triplets(images, seed=5):
    rng = np.random.default_rng(seed)
    while True:
        w = rng.integers(0, WRITERS, BATCH)
        other = (w + rng.integers(1, WRITERS, BATCH)) % WRITERS
        i = rng.integers(0, PER_WRITER, BATCH)
        j = (i + rng.integers(1, PER_WRITER, BATCH)) % PER_WRITER
        k = rng.integers(0, PER_WRITER, BATCH)
        yield images[w, i], images[w, j], images[other, k]


def separable(cin, cout):
    return nn.Sequential(
        nn.Conv2d(cin, cin, 3, padding=1, groups=cin, bias=False),
        nn.Conv2d(cin, cout, 1),
        nn.PReLU(cout, init=0.1),
        nn.MaxPool2d(2),
    )


class Embedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 12, 3), nn.PReLU(12, init=0.1), separable(12, 24), separable(24, 32), nn.AdaptiveMaxPool2d(1), nn.Flatten()
        )
        self.fc = nn.Linear(32, 16, bias=False)
        self.bn = nn.BatchNorm1d(16, eps=1e-3, momentum=0.1)
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(m.weight)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)

    def forward(self, x):
        return F.normalize(self.bn(self.fc(self.features(x))), dim=-1)


torch.manual_seed(71)
images = signatures()
embedder = Embedder()
criterion = lambda a, p, n: F.relu((a - p).pow(2).sum(-1) - (a - n).pow(2).sum(-1) + MARGIN).mean()
optimizer = torch.optim.SGD(embedder.parameters(), lr=0.02, momentum=0.9)
factors = lambda step: 1.0 if step < 60 else 0.5 if step < 80 else 0.1
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
batches = triplets(images)

for epoch in range(EPOCHS):
    embedder.train()
    total = 0.0
    for _ in range(STEPS):
        loss = criterion(*[embedder(x) for x in next(batches)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        total += loss.item()
    print(f"epoch {epoch + 1}/{EPOCHS} loss {total / STEPS:.4f}")

embedder.eval()
writer = torch.arange(WRITERS).repeat_interleave(PER_WRITER)
with torch.no_grad():
    z = embedder(images.flatten(0, 1))
gap = torch.cdist(z, z).fill_diagonal_(float("inf"))
print("nearest neighbour of the same writer:", (writer[gap.argmin(1)] == writer).float().mean().item())
