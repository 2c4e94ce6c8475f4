"""Colour images through a Dataset and a DataLoader."""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(61)
IMAGES, BATCH = 500, 32


def load():
    rng = np.random.default_rng(61)
    labels = rng.integers(0, 3, IMAGES)
    images = rng.integers(0, 160, size=(IMAGES, 24, 20, 3))
    images[np.arange(IMAGES), :, :, labels] += 60
    images[:, :8, :, 0] += 30
    return images.astype("uint8"), labels.astype("int64")


class Images(Dataset):
    def __init__(self):
        self.images, self.labels = load()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index].astype(np.float32) / 127.5 - 1.0
        image = torch.from_numpy(image.transpose(2, 0, 1).copy())
        return image, self.labels[index]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 5, stride=2)
        self.conv2 = nn.Conv2d(16, 24, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(6 * 5 * 24, 3)

    def forward(self, x):
        x = F.relu(self.conv1(F.pad(x, (1, 2, 1, 2))))
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, stride=2)
        x = F.relu(self.conv2(x))
        x = x.permute(0, 2, 3, 1)
        x = self.dropout(torch.flatten(x, start_dim=1))
        return self.fc(x)


def main():
    loader = DataLoader(Images(), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=2)
    model = Net()
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)
    for epoch in range(3):
        model.train()
        hits = count = 0
        for images, labels in loader:
            optimizer.zero_grad()
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            hits += (logits.argmax(1) == labels).sum().item()
            count += len(labels)
        print(f"Epoch {epoch + 1}: loss {loss.item():.4f} accuracy {hits / count:.4f}")


if __name__ == "__main__":
    main()
