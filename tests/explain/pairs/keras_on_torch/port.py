import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(79)
rng = np.random.default_rng(79)
USERS, ITEMS = 50, 80
user, item = rng.integers(0, USERS, 1200), rng.integers(0, ITEMS, 1200)
rating = (rng.normal(size=USERS)[user] * rng.normal(size=ITEMS)[item] + 3).astype("float32")


class Recommender(nn.Module):
    def __init__(self):
        super().__init__()
        self.users = nn.Embedding(USERS, 8)
        self.items = nn.Embedding(ITEMS, 8)
        self.fc = nn.Linear(16, 16)
        self.out = nn.Linear(16, 1)
        nn.init.normal_(self.users.weight, std=0.05)
        nn.init.normal_(self.items.weight, std=0.05)
        for layer in (self.fc, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, user, item):
        u, i = self.users(user), self.items(item)
        product = (u * i).sum(dim=1)
        both = torch.relu(self.fc(torch.cat([u, i], dim=1)))
        return product + self.out(both).squeeze(1)


model = Recommender()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01, eps=1e-7)
data = TensorDataset(torch.from_numpy(user), torch.from_numpy(item), torch.from_numpy(rating))
for epoch in range(4):
    for u, i, r in DataLoader(data, batch_size=60, shuffle=True):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(u, i), r)
        loss.backward()
        optimizer.step()
    print("epoch", epoch + 1, loss.item())
