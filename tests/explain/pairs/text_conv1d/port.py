"""Short reviews, good or bad: embedding, 1-D convolution, the maximum over time."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(2)
max_features, maxlen = 200, 30
rng = np.random.default_rng(2)
x = rng.integers(1, max_features, size=(700, maxlen))
y = (np.isin(x, np.arange(1, 20)).sum(axis=1) > 2).astype("float32")

train_ds = TensorDataset(torch.tensor(x[:560]), torch.tensor(y[:560]))
val_ds = TensorDataset(torch.tensor(x[560:]), torch.tensor(y[560:]))
train_dl = DataLoader(train_ds, batch_size=50, shuffle=True)
val_dl = DataLoader(val_ds, batch_size=50)


class TextCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(max_features, 24)
        self.spatial_dropout = nn.Dropout1d(0.1)
        self.conv = nn.Conv1d(24, 32, kernel_size=5)
        self.fc1 = nn.Linear(32, 32)
        self.dropout = nn.Dropout(0.3)
        self.fc2 = nn.Linear(32, 1)
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        for m in (self.conv, self.fc1, self.fc2):
            nn.init.xavier_uniform_(m.weight)
            nn.init.zeros_(m.bias)

    def forward(self, tokens):
        e = self.embedding(tokens).transpose(1, 2)
        e = self.spatial_dropout(e)
        h = F.relu(self.conv(e))
        h = h.max(dim=2).values
        h = F.relu(self.dropout(self.fc1(h)))
        return self.fc2(h)


model = TextCNN()
optimizer = torch.optim.Adam(model.parameters(), lr=0.003, eps=1e-7)

for epoch in range(3):
    model.train()
    for xb, yb in train_dl:
        logits = model(xb)
        loss = F.binary_cross_entropy_with_logits(logits, yb.unsqueeze(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = sum(((model(xb).squeeze(1) > 0) == (yb > 0.5)).sum().item() for xb, yb in val_dl)
    print(f"epoch {epoch + 1}: loss {loss.item():.4f}, val accuracy {hits / len(val_ds):.4f}")
