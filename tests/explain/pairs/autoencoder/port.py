"""Denoising autoencoder with transposed convolutions."""
import argparse

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def blobs(n, rng):
    rows, columns = np.mgrid[0:16, 0:16]
    centre = rng.uniform(4, 12, size=(n, 2, 1, 1))
    clean = np.exp(-((rows - centre[:, 0]) ** 2 + (columns - centre[:, 1]) ** 2) / 8.0)[:, None]
    noisy = np.clip(clean + 0.2 * rng.normal(size=(n, 16, 16, 1))[:, None, :, :, 0], 0, 1)
    return torch.tensor(noisy, dtype=torch.float32), torch.tensor(clean, dtype=torch.float32)


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc1 = nn.Conv2d(1, 16, 3, stride=2)
        self.enc2 = nn.Conv2d(16, 8, 3, stride=2)
        self.dec1 = nn.ConvTranspose2d(8, 8, 3, stride=2)
        self.dec2 = nn.ConvTranspose2d(8, 16, 4, stride=2, padding=1)
        self.out = nn.Conv2d(16, 1, 3, padding=1)
        for layer in self.children():
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = F.relu(self.enc1(F.pad(x, (0, 1, 0, 1))))
        x = F.relu(self.enc2(F.pad(x, (0, 1, 0, 1))))
        x = F.relu(self.dec1(x)[:, :, :-1, :-1])  # TensorFlow's "same" cuts the last row and column off
        x = F.relu(self.dec2(x))
        return torch.sigmoid(self.out(x))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.002)
    args = parser.parse_args()

    torch.manual_seed(17)
    noisy, clean = blobs(512, np.random.default_rng(17))
    model = Autoencoder()
    optimizer = torch.optim.NAdam(model.parameters(), lr=args.lr, eps=1e-7, momentum_decay=1.0)
    for epoch in range(args.epochs):
        for index in torch.randperm(len(noisy)).split(32):
            optimizer.zero_grad()
            loss = F.mse_loss(model(noisy[index]), clean[index])
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1} loss {loss.item():.5f}")
