import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(6)
rng = np.random.default_rng(6)
x = rng.normal(size=(512, 18, 18, 2)).astype("float32")
y = ((x[:, :9] ** 2).mean(axis=(1, 2)) > 1).astype(int) @ np.array([1, 2])
x = torch.from_numpy(x).movedim(-1, 1).contiguous()
y = torch.from_numpy(y)


class ChannelsLast(nn.Module):
    """(N, C, H, W) to (N, H, W, C), so that Flatten gives Keras's order."""

    def forward(self, t):
        return t.movedim(1, -1)


model = nn.Sequential(
    nn.Conv2d(2, 16, 3),
    nn.GroupNorm(4, 16, eps=1e-3),
    nn.SiLU(),
    nn.AvgPool2d(2),
    nn.Conv2d(16, 32, 3, dilation=2, padding=2),
    nn.GroupNorm(8, 32, eps=1e-3),
    nn.SiLU(),
    ChannelsLast(),
    nn.Flatten(),
    nn.Linear(8 * 8 * 32, 4),
)
with torch.no_grad():
    for name, p in model.named_parameters():
        if name.endswith("weight") and p.dim() > 1:
            nn.init.xavier_uniform_(p)
        elif name.endswith("bias"):
            p.zero_()

criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
optimizer = torch.optim.Adagrad(model.parameters(), lr=0.02, initial_accumulator_value=0.1, eps=1e-7)
loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
for epoch in range(4):
    seen, correct = 0, 0
    for images, labels in loader:
        optimizer.zero_grad()
        outputs = model(images)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        seen += len(labels)
        correct += (outputs.argmax(1) == labels).sum().item()
    print(f"epoch {epoch + 1}/4 - accuracy {correct / seen:.4f} - loss {loss.item():.4f}")
