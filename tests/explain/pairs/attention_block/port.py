"""One transformer block over sensor readings, trained with a cosine schedule."""
import math

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(19)
rng = np.random.default_rng(19)
D, HEADS, LENGTH, STEPS = 32, 4, 12, 60
x = rng.normal(size=(640, LENGTH, 8)).astype("float32")
y = np.argmax(x.max(axis=1)[:, :5], axis=1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(D, HEADS, dropout=0.1, batch_first=True)
        self.norm1 = nn.LayerNorm(D, eps=1e-6)
        self.ff1 = nn.Linear(D, 64)
        self.act = nn.GELU()
        self.ff2 = nn.Linear(64, D)
        self.dropout = nn.Dropout(0.1)
        self.norm2 = nn.LayerNorm(D, eps=1e-6)

    def forward(self, h):
        attended, _ = self.attention(h, h, h, need_weights=False)
        h = self.norm1(h + attended)
        ff = self.dropout(self.ff2(self.act(self.ff1(h))))
        return self.norm2(h + ff)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(8, D)
        self.block = Block()
        self.out = nn.Linear(D, 5)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)
        # the packed projection is three square ones: xavier_uniform_ over all of it would be too narrow
        limit = math.sqrt(6 / (D + D))
        attention = self.block.attention
        nn.init.uniform_(attention.in_proj_weight, -limit, limit)
        nn.init.zeros_(attention.in_proj_bias)

    def forward(self, x):
        return self.out(self.block(self.project(x)).mean(dim=1))


model = Classifier()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.98), eps=1e-9)
scheduler = LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step, STEPS) / STEPS)))
loss_fn = nn.CrossEntropyLoss()
loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=32, shuffle=True)

for epoch in range(3):
    model.train()
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(xb), yb)
        loss.backward()
        optimizer.step()
        scheduler.step()
    print(f"epoch {epoch + 1} loss {loss.item():.4f} lr {scheduler.get_last_lr()[0]:.2e}")
