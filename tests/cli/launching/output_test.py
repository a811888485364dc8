"""The output of a process, without the stack traces of the libraries below it."""

import io

import pytest

from jaxdl.cli.launching.output import Printer

HEARD = """\
step 10/20  loss 1.000
[Gloo] Rank 1 is connected to 1 peer ranks. Expected number of connected peer ranks is : 1
E1122 23:51:00.407982   14045 coordination_service.cc:1549] Use error polling to propagate this: UNAVAILABLE: The \
following tasks are unhealthy (stopped sending heartbeats):
3
12
The tasks have crashed. Check the task logs for an earlier error.
{more}F1122 23:51:00.408546   14056 client.h:80] Terminating, since the JAX distributed service detected fatal \
errors. absl::Status: UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats):
3
12
The tasks have crashed. Check the task logs for an earlier error.

RPC: /xla.coordination.CoordinationService/PollForError [type.googleapis.com/tensorflow.CoordinationServiceError='']
{more}*** Check failure stack trace: ***
    @     0x7fca23840634  absl::lts_20260107::log_internal::LogMessage::SendToLog()
    @     0x7fca2aca71f5  (unknown)

7 is printed by the run itself
"""
NEWER = "=== Source Location Trace: ===\nexternal/xla+/xla/pjrt/distributed/coordination_service.cc:232\n\n"
FIRST = """\
F1122 23:50:42.198778   13783 client.h:80] Terminating process. absl::Status: DEADLINE_EXCEEDED: Deadline Exceeded

RPC: /xla.coordination.CoordinationService/Heartbeat
*** Check failure stack trace: ***
    @     0x7f138f840634  absl::lts_20260107::log_internal::LogMessage::SendToLog()
"""
BETWEEN = """\
W1123 07:03:00.177451   11382 preemption_sync_manager.cc:147] Failed to retrieve preemption notice: UNAVAILABLE
Additional GRPC error information from remote target coordination_service while calling /xla.x/GetKeyValue:
:UNKNOWN:Error received from peer  {grpc_status:14, grpc_message:"Socket closed"}
jaxdl train: Another process of the run was lost.
*** Check failure stack trace: ***
    @     0x7fd16e840634  absl::lts_20260107::log_internal::LogMessage::SendToLog()
"""
CRASH = "F1123 07:03:00 1 tensor.cc:1] Check failed: x\n*** Check failure stack trace: ***\n    @     0x7fd1  f()\n"
OTHER = "E1122 23:51:00.407982 1 something_else.cc:1] bad\n3\n\n    @ home\n"


@pytest.mark.parametrize(
    ("text", "shown", "silent"),
    [
        (HEARD.format(more=""), "step 10/20  loss 1.000\n7 is printed by the run itself\n", {3, 12}),
        (HEARD.format(more=NEWER), "step 10/20  loss 1.000\n7 is printed by the run itself\n", {3, 12}),
        (FIRST, "", {0}),
        (BETWEEN, "jaxdl train: Another process of the run was lost.\n", set()),
        (CRASH, CRASH, set()),
        (OTHER, OTHER, set()),
    ],
    ids=["heard", "newer", "first", "between", "crash", "other"],
)
def test_the_report_of_a_lost_process_is_read_and_not_printed(text, shown, silent, capfd):
    printer = Printer(0, io.BytesIO(text.encode()))
    printer.join()
    assert capfd.readouterr().out == shown
    assert printer.silent == silent


def test_all_but_the_first_have_their_number_before_them(capfd):
    Printer(2, io.BytesIO(b"a\nb")).join()
    assert capfd.readouterr().out == "[2] a\n[2] b"
