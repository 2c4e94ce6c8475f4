import numpy as np
import torch
from torch import nn

torch.manual_seed(5)
words = "good bad fine awful great dull bright sad happy poor film plot actor scene story".split()
rng = np.random.default_rng(5)
texts = [" ".join(rng.choice(np.array(words), rng.integers(3, 12))) for _ in range(320)]
labels = torch.tensor([float(("good" in t) ^ ("bad" in t)) for t in texts])
index = {w: i + 2 for i, w in enumerate(words)}
ids = torch.zeros(320, 12, dtype=torch.long)
for row, text in enumerate(texts):
    for col, word in enumerate(text.split()):
        ids[row, col] = index[word]


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(17, 8, padding_idx=0)
        nn.init.uniform_(self.embed.weight, -0.05, 0.05)
        self.hidden = nn.Linear(8, 16)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(16, 1)
        for layer in (self.hidden, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        kept = (x != 0).unsqueeze(-1)
        pooled = (self.embed(x) * kept).sum(dim=1) / kept.sum(dim=1)
        return self.out(self.drop(torch.relu(self.hidden(pooled)))).squeeze(1)


model = Bag()
opt = torch.optim.Adam(model.parameters(), eps=1e-7)
bce = nn.BCEWithLogitsLoss()
data = torch.utils.data.TensorDataset(ids, labels)
for epoch in range(3):
    for x, y in torch.utils.data.DataLoader(data, batch_size=32, shuffle=True):
        opt.zero_grad()
        loss = bce(model(x), y)
        loss.backward()
        opt.step()
print(loss.item())
