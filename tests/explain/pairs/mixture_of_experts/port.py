import numpy as np
import torch
from torch import nn

torch.manual_seed(9)


class MixtureOfExperts(nn.Module):
    def __init__(self, experts, inputs, units):
        super().__init__()
        self.w = nn.Parameter(torch.empty(experts, inputs, units))
        self.b = nn.Parameter(torch.zeros(experts, units))
        self.gate = nn.Parameter(torch.empty(inputs, experts))
        limit = (6 / (experts * inputs + experts * units)) ** 0.5
        nn.init.uniform_(self.w, -limit, limit)
        nn.init.xavier_uniform_(self.gate)

    def forward(self, x):
        weights = torch.softmax(x @ self.gate, dim=-1)
        hidden = torch.relu(torch.einsum("bi,eiu->beu", x, self.w) + self.b)
        return torch.einsum("be,beu->bu", weights, hidden)


rng = np.random.default_rng(9)
x = torch.from_numpy(rng.normal(size=(400, 10)).astype("float32"))
y = x[:, :1].abs() + x[:, 1:2] * x[:, 2:3]
model = nn.Sequential(MixtureOfExperts(4, 10, 16), nn.LayerNorm(16, eps=1e-3), nn.Linear(16, 1))
nn.init.xavier_uniform_(model[2].weight)
nn.init.zeros_(model[2].bias)
optimizer = torch.optim.AdamW(model.parameters(), 1e-3, eps=1e-7, weight_decay=1e-3)
for epoch in range(2):
    for batch in torch.randperm(400).split(40):
        loss = nn.functional.mse_loss(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(loss.item())
