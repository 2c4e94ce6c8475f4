import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(3)
t = np.arange(600)
series = torch.tensor(np.sin(t / 9) + 0.1 * np.random.default_rng(0).normal(size=600), dtype=torch.float32)[:, None]
window = 24


class Windows(Dataset):
    def __len__(self):
        return len(series) - 2 * window + 1

    def __getitem__(self, i):
        return series[i : i + window], series[i + window]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 8, 5)
        self.gru = nn.GRU(8, 12, batch_first=True)
        self.out = nn.Linear(12, 1)
        nn.init.xavier_uniform_(self.conv.weight)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.xavier_uniform_(self.gru.weight_ih_l0)
        nn.init.orthogonal_(self.gru.weight_hh_l0)
        for n, p in self.named_parameters():
            if "bias" in n:
                nn.init.zeros_(p)

    def forward(self, x):
        x = F.relu(self.conv(F.pad(x.transpose(1, 2), (4, 0)))).transpose(1, 2)
        _, h = self.gru(x)
        return self.out(h[-1])


net = Net()
opt = torch.optim.RMSprop(net.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)
loader = DataLoader(Windows(), batch_size=32, shuffle=True)
for epoch in range(2):
    for x, y in loader:
        loss = F.l1_loss(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
print(loss.item())
