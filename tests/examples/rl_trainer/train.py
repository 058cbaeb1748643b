# SPDX-License-Identifier: Apache-2.0
"""Learns to balance a pole (CartPole) by policy gradient, and tells the bus how it goes.

    train.py [--episodes N] [--seed S] [--endpoint E]

A linear softmax policy, learned by REINFORCE with a linear baseline: an update after each batch of episodes. Runs
until SIGTERM or SIGINT, or for N episodes; its last line is what it counted itself, as JSON."""
import argparse
import collections
import json
import os
import signal
import time

import gymnasium
import numpy as np

from short_publisher import ShortPublisher, now

EPISODES_PER_UPDATE = 10
DISCOUNT = 0.99
LEARNING_RATE = 0.1
FLUSH_SECONDS = 0.5
LANE = "trainer_0"
OBSERVATION_SCALE = np.array([2.4, 3.0, 0.21, 3.0])  # brings each component near [-1, 1]


class Learner:
    """Policy: the probability of pushing right is sigmoid(w x). Adam on the policy gradient."""

    def __init__(self, rng):
        self.rng = rng
        self.weights = np.zeros(5)
        self.momentum, self.variance, self.updates = np.zeros(5), np.zeros(5), 0

    def features(self, observation):
        return np.append(observation / OBSERVATION_SCALE, 1.0)

    def act(self, x):
        return int(self.rng.random() < 1 / (1 + np.exp(-x @ self.weights)))

    def update(self, episodes):
        """One step up the policy gradient; returns the loss before it. An episode is (features, actions, rewards)."""
        xs = np.concatenate([e[0] for e in episodes])
        actions = np.concatenate([e[1] for e in episodes])
        returns = np.concatenate([discounted(e[2]) for e in episodes])
        # The baseline: what the state alone predicts of the return, by least squares over this batch.
        basis = np.hstack([xs, xs[:, :4] ** 2])
        advantages = returns - basis @ np.linalg.lstsq(basis, returns, rcond=None)[0]
        advantages /= advantages.std() + 1e-8
        right = 1 / (1 + np.exp(-xs @ self.weights))
        loss = -np.mean(advantages * np.log(np.where(actions == 1, right, 1 - right) + 1e-12))
        gradient = -np.mean((advantages * (actions - right))[:, None] * xs, axis=0)
        self.updates += 1
        self.momentum = 0.9 * self.momentum + 0.1 * gradient
        self.variance = 0.999 * self.variance + 0.001 * gradient**2
        step = self.momentum / (1 - 0.9**self.updates)
        self.weights -= LEARNING_RATE * step / (np.sqrt(self.variance / (1 - 0.999**self.updates)) + 1e-8)
        return float(loss)


def discounted(rewards):
    out, running = np.empty(len(rewards)), 0.0
    for i in range(len(rewards) - 1, -1, -1):
        running = rewards[i] + DISCOUNT * running
        out[i] = running
    return out


def play(environment, learner, seed=None):
    """One episode: (features, actions, rewards)."""
    observation, _ = environment.reset(seed=seed)
    xs, actions, rewards, is_over = [], [], [], False
    while not is_over:
        x = learner.features(observation)
        action = learner.act(x)
        observation, reward, terminated, truncated, _ = environment.step(action)
        xs.append(x)
        actions.append(action)
        rewards.append(reward)
        is_over = terminated or truncated
    return np.array(xs), np.array(actions), rewards


def describe(publisher):
    publisher.counter("rl_env_steps_total", "Steps of the environment")
    publisher.counter("rl_episodes_total", "Episodes played to their end")
    publisher.histogram("rl_step_duration_seconds", [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5], "s",
                        "One training step: a batch of episodes and an update")
    publisher.histogram("rl_episode_return", [10, 20, 50, 100, 200, 300, 400, 499], "", "Undiscounted return of an episode")
    publisher.gauge("rl_reward", ["stat"], "Return of the episodes of the newest training step")
    publisher.gauge("rl_policy_loss", help="Policy gradient loss of the newest update")
    publisher.gauge("rl_step", help="Training steps done")


def train(arguments, publisher, is_stopped):
    environment = gymnasium.make("CartPole-v1")
    learner = Learner(np.random.default_rng(arguments.seed))
    first, last, played = [], collections.deque(maxlen=20), 0
    seed, flushed = arguments.seed, 0.0
    while not is_stopped() and (arguments.episodes is None or played < arguments.episodes):
        began, began_ns = time.perf_counter(), now()
        batch = []
        for _ in range(EPISODES_PER_UPDATE):
            batch.append(play(environment, learner, seed))
            seed = None  # only the first reset is seeded: the environment goes on from there
        publisher.span("rollout", LANE, began_ns, step=learner.updates)
        update_ns = now()
        loss = learner.update(batch)
        publisher.span("update", LANE, update_ns, step=learner.updates - 1)

        new = [sum(rewards) for _, _, rewards in batch]
        first += new[: 20 - len(first)]
        last.extend(new)
        played += len(new)
        publisher.add("rl_env_steps_total", sum(len(rewards) for _, _, rewards in batch))
        publisher.add("rl_episodes_total", len(batch))
        for value in new:
            publisher.observe("rl_episode_return", value)
        publisher.observe("rl_step_duration_seconds", time.perf_counter() - began)
        publisher.set("rl_reward", float(np.mean(new)), "mean")
        publisher.set("rl_reward", float(np.max(new)), "max")
        publisher.set("rl_reward", float(np.min(new)), "min")
        publisher.set("rl_policy_loss", loss)
        publisher.set("rl_step", learner.updates)
        # All values each time: a broker that was restarted has them again within one flush.
        if time.monotonic() - flushed >= FLUSH_SECONDS:
            publisher.flush()
            flushed = time.monotonic()
            print(f"step {learner.updates}: {played} episodes, mean return of the last 20: {np.mean(last):.1f}", flush=True)
    return first, last


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--episodes", type=int, help="stop after so many; without it, run until stopped")
    parser.add_argument("--seed", type=int, help="makes the run repeatable")
    parser.add_argument("--endpoint", default=os.environ.get("INSIGHT_ENDPOINT", "tcp://127.0.0.1:5571"))
    arguments = parser.parse_args()
    signals = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: signals.append(received))

    publisher = ShortPublisher(
        arguments.endpoint, {"service.name": "rl_trainer", "run": "cartpole", "role": "trainer", "rank": 0})
    describe(publisher)
    publisher.send(life="hello")
    first, last = train(arguments, publisher, lambda: bool(signals))
    publisher.close()
    print(json.dumps({
        "incarnation": publisher.inc.hex(),
        "values": [[name, list(labels), value] for (name, labels), value in publisher.values.items()],
        "spans": publisher.spans_recorded,
        "mean_of_first_20": float(np.mean(first)) if first else None,
        "mean_of_last_20": float(np.mean(last)) if last else None,
    }))


if __name__ == "__main__":
    main()
