"""The whole of RL on the outcome rule, in one file: sample, read, outcome, advantage, step.

A tiny Llama with random weights learns to judge: the right response is the kind one. Its reply is
one token, so that a step takes milliseconds; all else is as in `spct train rl`, which does this
with TRL on real models. Needs the extra `train`; some seconds on a CPU.

    python recipes/loop.py
"""

import random

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import spct

KIND, RUDE = ("gladly", "sure", "please"), ("never", "nonsense", "whatever")
VERDICTS = (r"\boxed{9,1}", r"\boxed{1,9}")  # the replies that can be read, one token each
FORMAT = spct.Format("tiny", "{{conversation}} {{responses}}")
GROUP = 16  # rollouts of one prompt

VOCABULARY = ["<unk>", "asked", *KIND, *RUDE, *VERDICTS, "1]", "2]"]
IDS = {word: i for i, word in enumerate(VOCABULARY)}


def some_example(rng: random.Random, number: int) -> spct.Example:
    """Two responses of one word, of which one is kind."""
    entries = [(rng.choice(KIND), 1.0), (rng.choice(RUDE), 0.0)]
    rng.shuffle(entries)
    responses, gold = zip(*entries, strict=True)
    return spct.Example(str(number), (spct.Message("user", "asked"),), responses, gold)


def encode(prompt: spct.Prompt) -> torch.Tensor:
    """The prompt's words as ids."""
    words = prompt.messages[0].content.split()
    return torch.tensor([[IDS.get(word, 0) for word in words]])


def sample(
    logits_V: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, list[spct.Completion]]:
    """One token for each rollout; a reply that is not a verdict was cut at its limit."""
    tokens_G = torch.multinomial(logits_V.softmax(-1), GROUP, replacement=True, generator=generator)
    texts = [VOCABULARY[token] for token in tokens_G.tolist()]
    ends = ["stop" if text in VERDICTS else "length" for text in texts]
    return tokens_G, [spct.Completion(text, end) for text, end in zip(texts, ends, strict=True)]


def train(steps: int = 100, batch: int = 8, seed: int = 0) -> list[float]:
    """Train the judge; the share of correct rollouts in each step."""
    torch.manual_seed(seed)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4}
    policy = LlamaForCausalLM(LlamaConfig(vocab_size=len(VOCABULARY), **shape, **heads))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    shares = []
    for step in range(steps):
        losses, n_correct = [], 0.0
        for i in range(batch):
            example = some_example(rng, step * batch + i)
            # one prompt for the whole group: they are compared with each other
            (call,) = spct.plan(example, FORMAT, GROUP, orders="fixed", seed=seed)
            logits_V = policy(encode(call.prompt)).logits[0, -1]
            tokens_G, replies = sample(logits_V.detach(), generator)
            trajectories = spct.read(call, replies, FORMAT, "tiny")
            # an unreadable judgement earns -1: here the judge is the policy, and it wrote it
            scores_G = [t.judgement.scores if t.judgement else None for t in trajectories]
            rewards_G = [spct.outcome_reward(scores, example.gold or ()) for scores in scores_G]
            advantages_G = torch.tensor(spct.advantages(rewards_G))
            logps_G = logits_V.log_softmax(-1)[tokens_G]
            losses.append(-(advantages_G * logps_G).mean())
            n_correct += sum(reward > 0 for reward in rewards_G) / GROUP
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
        shares.append(n_correct / batch)
        if step % 10 == 0:
            print(f"step {step:3}: {shares[-1]:.0%} of the judgements are correct")
    return shares


if __name__ == "__main__":
    train()
