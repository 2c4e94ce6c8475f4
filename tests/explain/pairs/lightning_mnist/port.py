import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor


def he_normal_(weight):
    # Keras cuts the normal off at two standard deviations and corrects the scale for it
    std = (2.0 / weight.size(1)) ** 0.5 / 0.87962566103423978
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class LitClassifier(L.LightningModule):
    def __init__(self, lr=1e-3):
        super().__init__()
        self.save_hyperparameters()
        self.layer_1 = nn.Linear(28 * 28, 300)
        self.layer_2 = nn.Linear(300, 100)
        self.layer_3 = nn.Linear(100, 10)
        he_normal_(self.layer_1.weight)
        he_normal_(self.layer_2.weight)
        nn.init.xavier_uniform_(self.layer_3.weight)
        for layer in (self.layer_1, self.layer_2, self.layer_3):
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = torch.flatten(x, 1)
        x = F.elu(self.layer_1(x))
        x = F.elu(self.layer_2(x))
        return self.layer_3(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.log("val_loss", F.cross_entropy(logits, y), prog_bar=True)
        self.log("val_acc", (logits.argmax(dim=1) == y).float().mean(), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.RMSprop(self.parameters(), lr=self.hparams.lr, alpha=0.9, eps=1e-7)


if __name__ == "__main__":
    L.seed_everything(42)
    mnist = MNIST("data", train=True, download=True, transform=ToTensor())
    # Keras's validation_split takes the last tenth
    train = Subset(mnist, range(0, 54000))
    val = Subset(mnist, range(54000, 60000))
    train_loader = DataLoader(train, batch_size=64, shuffle=True)
    val_loader = DataLoader(val, batch_size=64)
    trainer = L.Trainer(
        max_epochs=20,
        accelerator="cpu",
        callbacks=[EarlyStopping(monitor="val_loss", patience=3)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(LitClassifier(), train_loader, val_loader)
