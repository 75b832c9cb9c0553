"""kill -9 of client and server at random points: what was acknowledged is there, and nothing that was never written."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from histories import main, operations, play, state_of
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from servers import embedded_directory

from checkpointers import RedisSaver, embedded

COUNT = 240


def kill_server(directory: Path) -> None:
    pid = embedded.server_pid(os.path.realpath(directory))
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), kills=st.sets(st.integers(0, 79), min_size=1, max_size=4))
def test_a_server_killed_between_any_two_writes_holds_what_the_model_holds(seed: int, kills: set[int]) -> None:
    model = InMemorySaver()
    with embedded_directory() as directory, RedisSaver.from_url(f"embedded:{directory}") as saver:
        for number, operation in enumerate(operations(seed, 80)):
            for player in (saver, model):
                play(player, "t", operation)
            if number in kills:
                kill_server(directory)
        assert state_of(saver, "t") == state_of(model, "t")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_client_killed_at_any_point_leaves_all_that_was_acknowledged(seed: int, embedded_dir: Path) -> None:
    dice, url = random.Random(seed), f"embedded:{embedded_dir}"
    done, kills = 0, 0
    while done < COUNT:
        command = [sys.executable, main.__code__.co_filename, url, "t", str(seed), str(COUNT), str(done)]
        paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parent)])
        env = os.environ | {"PYTHONPATH": paths}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        assert process.stdout is not None
        until = done + dice.randrange(20, 90)
        for line in process.stdout:
            done = int(line) + 1
            if done >= until:
                if dice.random() < 0.4:
                    kill_server(embedded_dir)
                process.kill()
                kills += 1
                break
        # What was acknowledged before the end is still in the pipe.
        for line in process.stdout:
            done = int(line) + 1
        process.wait()
        with RedisSaver.from_url(url) as saver:
            found = state_of(saver, "t")
        # The one under way at the kill may be there or not.
        assert found in [modelled(seed, end) for end in (done, done + 1)]
    assert kills >= 2


def modelled(seed: int, end: int) -> list[object]:
    model = InMemorySaver()
    for operation in islice(operations(seed, COUNT), end):
        play(model, "t", operation)
    return state_of(model, "t")
