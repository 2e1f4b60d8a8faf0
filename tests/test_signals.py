"""What signals do to a command."""

import os
import signal
import subprocess
import sys

import pytest

from tokenlens.signals import INTERRUPTED, STOPPED, TERMINATED, Terminated, endings, prompt_end

# a computation that hears of nothing for hours, in a command
DEAF = """
import click, hashlib, signal, sys, tokenlens.cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
def deaf():
    print("begun", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
tokenlens.cli.tokenlens.get_command = lambda *_: click.Command("deaf", callback=deaf)
sys.argv = ["tokenlens", "deaf"]
tokenlens.cli.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)])
def test_a_command_that_does_not_listen_is_ended(number: signal.Signals, code: int) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        process.send_signal(number)
        said = process.communicate()[1]
    assert process.returncode == code
    assert said.strip() == STOPPED


def test_exit_codes_are_those_of_shells() -> None:
    assert (INTERRUPTED, TERMINATED) == (128 + signal.SIGINT, 128 + signal.SIGTERM)


def test_a_forked_process_ends_without_its_parent() -> None:
    heard, told = os.pipe()
    with prompt_end():
        if not (child := os.fork()):
            os.write(told, b"ready")
            signal.pause()
            os._exit(0)
        assert os.read(heard, 5) == b"ready"
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_command_that_has_saved_ends_with_143() -> None:
    code = DEAF.replace('hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)', "raise tokenlens.cli.Terminated")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == TERMINATED and done.stderr.strip() == STOPPED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_request_to_end_is_noted(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with endings() as request:
        assert not request.came
        os.kill(os.getpid(), number)
        assert request.came
    assert signal.getsignal(number) is before


def test_what_fails_after_a_request_has_been_terminated() -> None:
    with pytest.raises(RuntimeError, match="a worker is gone"), endings():
        raise RuntimeError("a worker is gone")
    with pytest.raises(Terminated), endings():
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("a worker is gone")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
