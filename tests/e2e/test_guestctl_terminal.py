"""guestctl on a terminal: raw mode while a program has it, sizes, keys, and the terminal given back however it ends."""

import os
import signal

import pytest

import procs
from guestctl import GUESTCTL, environment
from local_terminal import LocalTerminal
from until import until


@pytest.fixture
def terminal(guestd):
    """terminal(*args) → guestctl on a terminal. terminal(*args, program=[…]): another program, with guestctl's environment."""
    open_ones = []

    def make(*args, program=(GUESTCTL,), env=(), **more):
        open_ones.append(LocalTerminal([*program, *map(os.fspath, args)], {**environment(guestd), "PS1": "$ ", **dict(env)},
                                **more))
        return open_ones[-1]

    yield make
    for one in open_ones:
        one.close()


def begin_shell(terminal, *options):
    """sh over exec -it, at its prompt."""
    one = terminal("exec", "-it", *options, "-e", "PS1=# ", "-e", "ENV", "--", "sh")
    one.see("# ")
    assert one.is_raw()
    return one


# ── given back ──

def test_the_terminal_is_raw_only_while_the_program_has_it(terminal):
    one = begin_shell(terminal)
    one.type("exit 7\r")
    assert one.ended() == 7
    assert one.given_back()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_program_and_gives_the_terminal_back(terminal, guestd, number):
    one = begin_shell(terminal, "--kill-grace", "0.2")
    one.process.send_signal(number)
    assert one.ended() == 137
    assert one.given_back() and b"guestctl: exec: cancelled after" in one.shown
    assert guestd.jobs() == []


def test_a_second_signal_ends_guestctl_alone(terminal, guestd):
    one = terminal("exec", "-it", "--kill-grace", "1", "sh", "-c",
                 "trap 'echo asked' TERM HUP; echo ready; while :; do sleep 0.05; done")
    one.see("ready")
    one.process.send_signal(signal.SIGTERM)
    one.see("asked")
    one.process.send_signal(signal.SIGTERM)
    assert one.ended() == -signal.SIGTERM
    assert one.given_back()
    until(lambda: guestd.jobs() == [], "its lost connection ended the program")


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGSEGV, signal.SIGABRT])
def test_guestctls_own_crash_gives_the_terminal_back(terminal, guestd, number):
    one = begin_shell(terminal, "--kill-grace", "0.2")
    one.process.send_signal(number)
    assert one.ended() == -number
    assert one.given_back()
    until(lambda: guestd.jobs() == [], "its lost connection ended the program")


@pytest.mark.parametrize("args, code", [(["no-such-program"], 127), (["/etc/passwd"], 126), (["-w", "/missing", "true"], 125)])
def test_a_program_that_doesnt_start_never_has_the_terminal(terminal, args, code):
    one = terminal("exec", "-it", *args)
    assert one.ended() == code
    assert one.given_back() and b"guestctl: exec: " in one.shown


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGSTOP])
def test_while_guestctl_is_stopped_the_terminal_is_the_shells(terminal, guestd, number):
    """Under a shell of this side, that has job control."""
    one = terminal("--norc", "--noprofile", "--noediting", "-i", program=["bash"])
    one.see("$ ")
    one.type("%s exec -it -e 'PS1=# ' -e ENV -- sh\r" % GUESTCTL)
    one.see("\n")
    one.see("# ")
    assert one.is_raw()
    pid, = procs.children(one.process.pid)
    os.kill(pid, number)
    one.see("Stopped")
    if number == signal.SIGTSTP:  # of a SIGSTOP nobody learns: bash itself sets the modes then
        assert not one.is_raw()
    one.type("echo lo''cal\r")
    one.see("local")
    one.type("fg\r")
    until(one.is_raw, "the program has the terminal again")
    one.type("echo re''mote\r")
    one.see("remote")
    one.type("exit 5\r")
    one.see("$ ")
    one.type("echo code $?\r")
    one.see("code 5")
    one.type("exit\r")
    assert one.ended() == 0


# ── size and kind ──

def test_the_program_has_our_size_and_TERM_and_sees_both_change(terminal):
    one = terminal("exec", "-it", "sh", "-c", "trap 'stty size; exit 0' WINCH; stty size; echo $TERM; "
                 "while :; do sleep 0.05; done", env={"TERM": "vt220"}, rows=33, cols=111)
    one.see("33 111")
    one.see("vt220")
    until(one.is_raw, "it has the terminal")
    one.resize(50, 132)
    one.see("50 132")
    assert one.ended() == 0


def test_a_terminal_without_a_terminal_here_is_24_by_80(ctl):
    assert ctl("exec", "-t", "stty", "size").stdout == b"24 80\r\n"


def test_a_pipe_may_feed_a_terminal(ctl):
    done = ctl("exec", "-it", "-e", "PS1=", "-e", "ENV", "sh", stdin=b"echo one''two\nexit 3\n", code=3)
    assert b"onetwo\r\n" in done.stdout


# ── keys ──

def test_every_byte_goes_through_both_ways(terminal, folder):
    """But for ~ at the beginning of a line, which test_escape tells of."""
    every = bytes(range(256))
    (folder / "every").write_bytes(every)
    one = terminal("exec", "-it", "-w", folder, "sh", "-c",
                 "stty raw -echo; echo ready; head -c 256 >came; cat every; stty sane; cmp came every && echo same")
    one.see("ready\n")
    one.type(every)
    one.see(every)
    one.see("same")
    assert one.ended() == 0


def test_bash_has_job_control(terminal):
    one = terminal("exec", "-it", "-e", "PS1=# ", "bash", "--norc", "--noprofile", "-i")
    one.see("# ")
    one.type("sleep 1000\r")
    one.see("sleep 1000\r\n")
    one.type(b"\x1a")
    one.see("Stopped")
    one.type("fg\r")
    one.see("fg\r\n")
    one.see("sleep 1000")
    one.type(b"\x03")
    one.see("# ")
    one.type("echo code $?\r")
    one.see("code 130")
    one.type(b"\x04")
    assert one.ended() == 0
    assert one.given_back()


def test_tilde_dot_at_the_beginning_of_a_line_ends_the_program(terminal, guestd):
    one = begin_shell(terminal, "--kill-grace", "0.2")
    one.type("echo a~.b\r")
    one.see("a~.b\r\na~.b")
    one.type("~~.\x15echo ag''ain\r")
    one.see("again")
    one.type("\r~.")
    assert one.ended() == 137
    assert one.given_back()
    assert guestd.jobs() == []


# ── attach ──

def test_a_terminal_is_left_and_come_back_to(terminal, ctl):
    ctl("exec", "-bt", "--tag", "work", "-e", "PS1=# ", "-e", "ENV", "sh")
    one = terminal("attach", "-i", "work")
    one.see("# ")
    until(one.is_raw, "it has the terminal")
    one.type("X=kept; stty size\r")
    one.see("40 100")
    one.type("~.")
    assert one.ended() == 0
    assert one.given_back() and b"work goes on" in one.shown
    two = terminal("attach", "-i", "--from", "now", "work", rows=20)
    until(two.is_raw, "it has the terminal")
    two.type("echo $X; stty size\r")
    two.see("kept")
    two.see("20 100")
    two.type("exit 9\r")
    assert two.ended() == 9
    assert two.given_back()


def test_ctrl_c_is_the_programs_and_a_signal_detaches(terminal, ctl):
    ctl("exec", "-bt", "--tag", "trap", "sh", "-c", "trap 'echo caught' INT; echo ready; while :; do sleep 0.05; done")
    one = terminal("attach", "-i", "trap")
    one.see("ready")
    until(one.is_raw, "it has the terminal")
    one.type(b"\x03")
    one.see("caught")
    one.process.send_signal(signal.SIGTERM)
    assert one.ended() == 130
    assert one.given_back() and b"trap goes on" in one.shown
    assert b"running" in ctl("ps").stdout
    ctl("kill", "trap")
