import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(4)
rng = np.random.default_rng(4)
seq = torch.from_numpy(rng.normal(size=(256, 10, 6)).astype("float32"))
label = (seq[:, :, 0].sum(1) > 0).long()


class Encoder(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        self.project = nn.Linear(6, dim)
        pos = torch.arange(10)[:, None]
        freq = torch.exp(torch.arange(0, dim, 2) * -(math.log(10000.0) / dim))
        table = torch.zeros(10, dim)
        table[:, 0::2], table[:, 1::2] = torch.sin(pos * freq), torch.cos(pos * freq)
        self.register_buffer("table", table)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.o = nn.Linear(dim, dim)
        self.n1, self.n2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.ffn = nn.Sequential(nn.Linear(dim, 32), nn.GELU(), nn.Linear(32, dim))
        self.head = nn.Linear(dim, 2)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)
        for part in self.qkv.weight.chunk(3):
            nn.init.xavier_uniform_(part)

    def forward(self, x):
        x = self.project(x) * 4 + self.table
        b, t, d = x.shape
        q, k, v = (z.view(b, t, 2, 8).transpose(1, 2) for z in self.qkv(self.n1(x)).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.o(y.transpose(1, 2).reshape(b, t, d))
        x = x + self.ffn(self.n2(x))
        return self.head(x.mean(dim=1))


model = Encoder()
opt = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-7, weight_decay=0.01)
for epoch in range(2):
    for idx in torch.randperm(256).split(32):
        loss = F.cross_entropy(model(seq[idx]), label[idx])
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
print(loss.item())
