"""The same in PyTorch, written out."""
import numpy as np
import torch
import torch.nn as nn

rng = np.random.default_rng(4)
x = torch.from_numpy(rng.normal(size=(600, 8, 10)).astype("float32"))
y = torch.from_numpy(rng.integers(0, 5, 600))


class AttentionNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(10, 16, bias=False)
        self.k = nn.Linear(10, 16, bias=False)
        self.v = nn.Linear(10, 16, bias=False)
        self.skip = nn.Linear(10, 16)
        self.norm = nn.LayerNorm(16, eps=1e-3)
        self.fc = nn.Linear(16, 5)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)

    def forward(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        scores = q @ k.transpose(1, 2)
        a = torch.softmax(scores, dim=-1) @ v
        s = self.norm(a + self.skip(x))
        return self.fc(s.max(dim=1).values)


net = AttentionNet()
opt = torch.optim.NAdam(net.parameters(), lr=2e-3, eps=1e-7, momentum_decay=1.0)
ds = torch.utils.data.TensorDataset(x, y)
for epoch in range(4):
    for a, b in torch.utils.data.DataLoader(ds, batch_size=32, shuffle=True):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(a), b)
        loss.backward()
        opt.step()
