import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

# Deep & Cross Network v2 for click prediction (low-rank cross layers), PyTorch

VOCAB = {"user_group": 10, "ad": 30, "site": 15, "hour": 24}
EMB = 6


class CrossNet(nn.Module):
    def __init__(self, dim, rank=8, n_layers=3):
        super().__init__()
        self.down = nn.ModuleList(nn.Linear(dim, rank, bias=False) for _ in range(n_layers))
        self.up = nn.ModuleList(nn.Linear(rank, dim) for _ in range(n_layers))

    def forward(self, x0):
        x = x0
        for down, up in zip(self.down, self.up):
            x = x0 * up(down(x)) + x
        return x


class DCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, EMB) for size in VOCAB.values())
        dim = EMB * len(VOCAB) + 3
        self.cross = CrossNet(dim)
        self.deep = nn.Sequential(nn.Linear(dim, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.head = nn.Linear(dim + 16, 1)
        for m in self.modules():
            if isinstance(m, nn.Embedding):
                nn.init.normal_(m.weight, std=0.3)
            elif isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)

    def forward(self, cats, dense):
        parts = [emb(cats[:, i]) for i, emb in enumerate(self.embeddings)]
        x0 = torch.cat([*parts, dense], dim=1)
        return self.head(torch.cat([self.cross(x0), self.deep(x0)], dim=1))


def clicks(n, seed):
    rng = np.random.default_rng(seed)
    taste = np.random.default_rng(1000).normal(size=(10, 30))
    place = np.random.default_rng(1001).normal(size=15)
    cats = {name: rng.integers(0, size, n) for name, size in VOCAB.items()}
    dense = rng.normal(size=(n, 3))
    logit = 1.2 * taste[cats["user_group"], cats["ad"]] + 0.6 * place[cats["site"]] + dense[:, 0] * dense[:, 1] - 0.5
    y = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype("float32")
    cats = torch.from_numpy(np.stack([cats[name] for name in VOCAB], axis=1))
    return TensorDataset(cats, torch.from_numpy(dense.astype("float32")), torch.from_numpy(y[:, None]))


def auc(y, score):
    pos, neg = score[y > 0.5], score[y < 0.5]
    return (pos[:, None] > neg[None, :]).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(64)
    train, test = clicks(600, seed=1), clicks(300, seed=2)
    loader = DataLoader(train, batch_size=64, shuffle=True)
    model = DCN()
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, eps=1e-7)

    for epoch in range(8):
        model.train()
        losses = []
        for cats, dense, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(cats, dense), y)
            loss.backward()
            for p in model.parameters():  # Keras' clipnorm goes by variable
                nn.utils.clip_grad_norm_(p, 0.5)
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}/8: loss {np.mean(losses):.4f}")

    model.eval()
    cats, dense, y = test.tensors
    with torch.no_grad():
        print("AUC", auc(y[:, 0], model(cats, dense)[:, 0]))
