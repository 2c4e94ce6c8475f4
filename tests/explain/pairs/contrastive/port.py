import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(11)
rng = np.random.default_rng(11)
base = rng.normal(size=(192, 20)).astype("float32")
view_a = torch.tensor(base + 0.2 * rng.normal(size=base.shape), dtype=torch.float32)
view_b = torch.tensor(base + 0.2 * rng.normal(size=base.shape), dtype=torch.float32)

encoder = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.BatchNorm1d(32, eps=1e-3, momentum=0.01), nn.Linear(32, 16))
projector = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 8, bias=False))
for m in [*encoder, *projector]:
    if isinstance(m, nn.Linear):
        nn.init.xavier_uniform_(m.weight)
        if m.bias is not None:
            nn.init.zeros_(m.bias)


def nt_xent(a, b, temperature=0.2):
    z = F.normalize(torch.cat([a, b]), dim=1)
    n = len(a)
    sim = z @ z.t() / temperature - 1e9 * torch.eye(2 * n)
    target = torch.cat([torch.arange(n) + n, torch.arange(n)])
    return F.cross_entropy(sim, target)


params = [*encoder.parameters(), *projector.parameters()]
opt = torch.optim.SGD(params, lr=0.05, momentum=0.9)
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=60)
loader = DataLoader(TensorDataset(view_a, view_b), batch_size=32, shuffle=True)
for epoch in range(4):
    for a, b in loader:
        loss = nt_xent(projector(encoder(a)), projector(encoder(b)))
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
print(loss.item())
