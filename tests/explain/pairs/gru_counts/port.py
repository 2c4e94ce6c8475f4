import numpy as np
import torch
from torch import nn

torch.manual_seed(29)
rng = np.random.default_rng(29)
signal = torch.from_numpy(rng.normal(size=(600, 18, 5)).astype(np.float32))
target = signal[:, :, :2].abs().sum(dim=(1, 2))  # (600,)


class Counter(nn.Module):
    def __init__(self, units=16):
        super().__init__()
        self.gru = nn.GRU(input_size=5, hidden_size=units, batch_first=True)
        self.hidden = nn.Linear(units, units)
        self.out = nn.Linear(units, 1)
        self.reset_parameters()

    def reset_parameters(self):
        for name, p in self.named_parameters():
            if "bias" in name:
                nn.init.zeros_(p)
            elif "weight_hh" in name:
                nn.init.orthogonal_(p)
            else:
                nn.init.xavier_uniform_(p)

    def forward(self, x):
        _, h = self.gru(x)
        h = torch.tanh(self.hidden(h[-1]))
        return self.out(h).squeeze(-1)


model = Counter()
optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3, alpha=0.95, momentum=0.5, eps=1e-7)
l1 = nn.L1Loss()

for epoch in range(3):
    permutation = torch.randperm(signal.size(0))
    for i in range(0, signal.size(0), 40):
        indices = permutation[i : i + 40]
        optimizer.zero_grad()
        loss = l1(model(signal[indices]), target[indices])
        loss.backward()
        optimizer.step()
    print(f"[{epoch}] {loss.item():.4f}")
