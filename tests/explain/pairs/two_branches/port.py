"""House prices: a picture and a row of figures in, price and "sold quickly" out."""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(11)
rng = np.random.default_rng(11)
n = 640
pictures = rng.random((n, 16, 16, 3)).astype("float32")
figures = rng.normal(size=(n, 6)).astype("float32")
price = (figures @ rng.normal(size=6) + 4 * pictures.mean(axis=(1, 2, 3)))[:, None].astype("float32")
quick = (figures[:, :1] + pictures[:, :8].mean(axis=(1, 2, 3))[:, None] > 0.5).astype("float32")


class Houses(Dataset):
    def __init__(self, start, stop):
        self.index = range(start, stop)

    def __len__(self):
        return len(self.index)

    def __getitem__(self, i):
        i = self.index[i]
        return {
            "picture": torch.from_numpy(pictures[i]).permute(2, 0, 1),
            "figures": torch.from_numpy(figures[i]),
            "price": torch.from_numpy(price[i]),
            "quick": torch.from_numpy(quick[i]),
        }


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_a = nn.Conv2d(3, 8, 3, padding=1)
        self.conv_b = nn.Conv2d(8, 16, 3, padding=1)
        self.rows_a = nn.Linear(6, 16)
        self.rows_b = nn.Linear(16, 16)
        self.joint = nn.Linear(32, 32)
        self.price = nn.Linear(32, 1)
        self.quick = nn.Linear(32, 1)
        for m in self.children():
            nn.init.xavier_uniform_(m.weight)
            nn.init.zeros_(m.bias)

    def forward(self, picture, figures):
        a = F.relu(self.conv_a(picture))
        a = F.max_pool2d(a, 2)
        a = F.relu(self.conv_b(a))
        a = a.mean(dim=(2, 3))
        b = F.relu(self.rows_a(figures))
        b = F.relu(self.rows_b(b))
        h = torch.cat([a, b], dim=1)
        h = F.silu(self.joint(h))
        return self.price(h), self.quick(h)


def losses(model, batch):
    price, quick = model(batch["picture"], batch["figures"])
    mse = F.mse_loss(price, batch["price"])
    bce = F.binary_cross_entropy_with_logits(quick, batch["quick"])
    return mse, bce


model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01, eps=1e-7)
train = DataLoader(Houses(0, 512), batch_size=32, shuffle=True)
for epoch in range(4):
    for batch in train:
        mse, bce = losses(model, batch)
        loss = mse + 0.5 * bce
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("epoch", epoch, "mse", mse.item(), "bce", bce.item())

model.eval()
with torch.no_grad():
    for batch in DataLoader(Houses(512, 640), batch_size=128):
        print([value.item() for value in losses(model, batch)])
