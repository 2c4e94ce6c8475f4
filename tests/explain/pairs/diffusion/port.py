import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

STEPS = 40


def moons(n=256, seed=3):
    rng = np.random.default_rng(seed)
    angle = np.pi * rng.random(n)
    side = rng.integers(0, 2, n)
    x = np.stack([np.cos(angle) + side, np.sin(angle) * (1 - 2 * side)], axis=1)
    return torch.tensor(x + 0.05 * rng.normal(size=x.shape), dtype=torch.float32)


class Net(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.points = nn.Linear(2, width)
        self.time = nn.Linear(STEPS, width, bias=False)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 2)
        for layer in (self.points, self.time, self.hidden, self.out):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x, t):
        h = F.silu(self.points(x) + self.time(t))
        return self.out(F.silu(self.hidden(h)))


class Diffusion(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = Net()
        self.register_buffer("kept", torch.cumprod(1 - torch.linspace(1e-3, 0.1, STEPS, dtype=torch.float64), 0).float())

    def training_step(self, batch, batch_idx):
        (x,) = batch
        noise = torch.randn_like(x)
        t = torch.randint(0, STEPS, (len(x),))
        kept = self.kept[t].unsqueeze(1)
        noisy = kept.sqrt() * x + (1 - kept).sqrt() * noise
        return F.mse_loss(self.net(noisy, F.one_hot(t, STEPS).float()), noise)

    def configure_optimizers(self):
        return torch.optim.RMSprop(self.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)


if __name__ == "__main__":
    loader = DataLoader(TensorDataset(moons()), batch_size=32, shuffle=True)
    trainer = L.Trainer(max_epochs=3, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(Diffusion(), loader)
