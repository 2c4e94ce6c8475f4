"""The same in PyTorch."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(30, 24)
        self.mean = nn.Linear(24, 4)
        self.log_var = nn.Linear(24, 4)
        self.decoder = nn.Linear(4, 24)
        self.output_layer = nn.Linear(24, 30)
        for layer in self.children():
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        h = torch.relu(self.encoder(x))
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        return torch.sigmoid(self.output_layer(torch.relu(self.decoder(z)))), mean, log_var


x = torch.from_numpy(np.random.default_rng(5).random((640, 30)).astype("float32"))
loader = DataLoader(TensorDataset(x), batch_size=32, shuffle=True)
model = VAE()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
for epoch in range(3):
    for (batch,) in loader:
        made, mean, log_var = model(batch)
        error = ((batch - made) ** 2).sum(dim=1).mean()
        kl = -0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum(dim=1).mean()
        loss = error + kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
