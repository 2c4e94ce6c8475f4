"""Truncated backpropagation through time for a character model, after the Keras script with `stateful=True`."""
import numpy as np
import torch
from torch import nn, optim
from torch.nn.utils import clip_grad_norm_


def build_text(n_chars=6500, seed=99):
    rng = np.random.default_rng(seed)
    names = ["anna", "boris", "carla", "dmitri", "elena"]
    verbs = ["sees", "likes", "calls", "follows"]
    text = ""
    while len(text) < n_chars:
        who, whom = rng.choice(names, 2, replace=False)
        text += f"{who} {rng.choice(verbs)} {whom}. {whom} waves at {who}. "
    return text


class Corpus:
    def __init__(self, text, rows, bptt):
        self.vocabulary = sorted(set(text))
        lookup = {c: i for i, c in enumerate(self.vocabulary)}
        ids = torch.tensor([lookup[c] for c in text])
        self.bptt = bptt
        self.chunks = (len(ids) - 1) // (rows * bptt)
        used = rows * bptt * self.chunks
        self.source = ids[:used].view(rows, -1).T.contiguous()  # (time, rows)
        self.target = ids[1 : used + 1].view(rows, -1).T.contiguous()

    def __iter__(self):
        return zip(self.source.split(self.bptt), self.target.split(self.bptt))


class CharModel(nn.Module):
    def __init__(self, vocabulary, units=48):
        super().__init__()
        self.vocabulary = vocabulary
        self.gru = nn.GRU(vocabulary, units)
        self.norm = nn.LayerNorm(units, eps=1e-3)
        self.decode = nn.Linear(units, vocabulary)
        with torch.no_grad():
            nn.init.xavier_uniform_(self.gru.weight_ih_l0)
            nn.init.orthogonal_(self.gru.weight_hh_l0)
            nn.init.xavier_uniform_(self.decode.weight)
            for bias in (self.gru.bias_ih_l0, self.gru.bias_hh_l0, self.decode.bias):
                bias.zero_()

    def forward(self, ids, state=None):
        onehot = nn.functional.one_hot(ids, self.vocabulary).float()
        hidden, state = self.gru(onehot, state)
        return self.decode(self.norm(hidden)), state.detach()


def main():
    torch.manual_seed(99)
    corpus = Corpus(build_text(), rows=16, bptt=20)
    model = CharModel(len(corpus.vocabulary))
    optimizer = optim.Adam(model.parameters(), lr=5e-3, eps=1e-7)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.7)  # once per epoch

    for epoch in range(10):
        state, total = None, 0.0
        for source, target in corpus:
            logits, state = model(source, state)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
            model.zero_grad()
            loss.backward()
            clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
            total += loss.item()
        scheduler.step()
        print(f"epoch {epoch + 1}: loss {total / corpus.chunks:.4f}")
    print("perplexity", np.exp(total / corpus.chunks))


if __name__ == "__main__":
    main()
