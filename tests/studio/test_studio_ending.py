"""The studio stopped in the middle of its work: real processes, real connections."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from raw_client import RawClient, RunningStudio
from studio_files import EXAMPLES, photo_bytes

from scr3d.studio.ending import running_threads

LEAVES_A_THREAD_IN_NATIVE_CODE = """
import threading, time, torch
from scr3d.studio.ending import leave, running_threads

def work():
    image, weight = torch.rand(4, 16, 128, 128), torch.rand(16, 16, 3, 3)
    while True:
        torch.nn.functional.conv2d(image, weight)

threading.Thread(target=work, daemon=True).start()
time.sleep(0.5)
print("written before", end="")
if running_threads(0.2):
    {leave}
raise SystemExit(130)
"""


def stop_at_work(delay_s: float) -> RunningStudio:
    """A studio that is told to stop while a photo is searched for faces and explained."""
    running = RunningStudio()
    client = RawClient(running.port)
    client.upload("me.jpg", photo_bytes(1, (1200, 1000), "JPEG"))
    client.await_message(lambda message: message["type"] == "FileTransferPartAck")
    time.sleep(delay_s)
    assert running.stop() == 130, running.lines
    client.close()
    return running


def test_a_studio_that_is_stopped_at_work_ends_as_told() -> None:
    running = stop_at_work(0.3)
    assert "scr3d: interrupted" in "\n".join(running.lines)
    assert not [line for line in running.lines if "Traceback" in line or "terminate" in line], running.lines


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0])
def test_it_ends_as_told_at_any_moment(delay_s: float) -> None:
    stop_at_work(delay_s)


@pytest.mark.slow
def test_an_animation_that_is_being_made_is_not_waited_for() -> None:
    running = RunningStudio(EXAMPLES / "head-01.png")
    client = RawClient(running.port)
    client.await_message(lambda message: message["type"] == "GlbMessage", 60)
    client.send("GuiUpdateMessage", uuid=client.control("Turntable (MP4)"), updates={"value": True})
    client.await_message(lambda message: "Working" in str(message.get("updates", {}).get("content", "")))
    begun = time.monotonic()
    assert running.stop() == 130, running.lines
    assert time.monotonic() - begun < 30


def test_leaving_keeps_the_exit_code_and_what_was_printed() -> None:
    program = LEAVES_A_THREAD_IN_NATIVE_CODE.format(leave="leave(130)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "written before", "")


def test_threads_are_waited_for_also_when_they_start_late() -> None:
    ended: list[str] = []

    def late() -> None:
        time.sleep(0.2)
        ended.append("late")

    def first() -> None:
        time.sleep(0.1)
        threading.Thread(target=late).start()

    before = set(threading.enumerate())
    threading.Thread(target=first).start()
    left = running_threads(2.0)
    assert ended == ["late"]
    assert set(left) <= before
