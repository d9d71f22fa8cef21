"""The command line as a whole: help without imports, exit codes, and every way to leave."""

import errno
import json
import os
import platform
import signal
import subprocess
import sys
from importlib import import_module

import pytest

from canaryd import __version__
from canaryd.cli.exits import CommandError, Exit
from canaryd.cli.main import COMMANDS

HELP = """\
Usage: canaryd [OPTIONS] COMMAND [ARGS]...

  Progressive delivery for the Deployments you already have.

Options:
  -V, --version  Show the version and exit.
  -h, --help     Show this message and exit.

See:
  list     List the apps that canaryd releases.
  status   Show how the release of an app goes.
  wait     Wait until an app is somewhere.
  why      Show the last decisions about an app, and their reasons.
  history  Show the runs of an app, and what people asked for.
  diff     Show what a promotion would change.
  config   Show the values in force for an app, and where from.

Steer:
  pause    Hold the run of an app where it is.
  resume   Let a paused run go on.
  promote  Go on to the next step of a run.
  approve  Approve the gate that a run waits at.
  abort    End a run, users to the primary first.
  retry    Try a revision again that failed.
  skip     Promote the revision under analysis without a verdict.
  undo     Go back to a revision that was promoted before.

Annotate:
  enrol    Hand a Deployment to canaryd, with these annotations.
  leave    Take a Deployment back from canaryd, and wait until it is.
  lint     Check the annotations in YAML files, without a cluster.
  explain  Explain an annotation key; without KEY, list all of them.

Run:
  run      Watch Deployments and roll out their new revisions.
  version  Show the version.
"""

# What takes a daemon, but not a question about it.
HEAVY = {"aiohttp", "kubernetes", "pydantic", "prometheus_client", "structlog", "yaml", "msgspec"}
LOADED = """
import sys
from canaryd.cli.main import main
try:
    main()
except SystemExit as end:
    sys.stderr.write(f"{end.code} " + " ".join(sorted(sys.modules)))
"""


def python(*arguments, **more):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, **more
    )


# --- help ---


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_tells_of_every_command(canaryd, flag):
    outcome = canaryd(flag)
    assert (0, HELP, "") == (outcome.code, outcome.out, outcome.err)


def test_as_a_plugin_of_kubectl_it_is_called_like_one(canaryd):
    outcome = canaryd("--help", name="kubectl-canaryd")
    assert outcome.out.startswith("Usage: kubectl canaryd [OPTIONS] COMMAND")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_commands_says_what_a_command_says_of_itself(name):
    module, text = COMMANDS[name]
    command = import_module(module).command
    assert (name, text) == (command.name, command.get_short_help_str(200))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_has_a_help_text(canaryd, name):
    outcome = canaryd(name, "--help")
    assert (0, "") == (outcome.code, outcome.err)
    assert outcome.out.startswith(f"Usage: canaryd {name} ")
    assert COMMANDS[name][1].rstrip(".") in outcome.out


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (["--help"], {}),
        (["--version"], {}),
        (["version"], {}),
        ([], {"_CANARYD_COMPLETE": "bash_complete", "COMP_WORDS": "canaryd ", "COMP_CWORD": "1"}),
    ],
    ids=["help", "the version flag", "the version command", "completion"],
)
def test_a_quick_question_imports_nothing_heavy(arguments, environ):
    done = python("-c", LOADED, *arguments, env={**os.environ, **environ})
    code, *modules = done.stderr.split()
    assert "0" == code
    assert "click" in modules
    assert set() == HEAVY & set(modules)


def test_a_shell_is_offered_the_commands():
    words = {"_CANARYD_COMPLETE": "bash_complete", "COMP_WORDS": "canaryd ", "COMP_CWORD": "1"}
    done = python("-c", LOADED, env={**os.environ, **words})
    assert [f"plain,{name}" for name in COMMANDS] == done.stdout.split()


# --- slips ---


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Usage: canaryd [OPTIONS] COMMAND"),
        (["nonsense"], "Error: No such command 'nonsense'"),
        (["--nonsense"], "Error: No such option"),
        (["lint"], "Error: Missing argument 'FILE...'."),
        (
            ["lint", "-o", "xml", "x"],
            "Error: Invalid value for '-o' / '--output': 'xml' is not one",
        ),
        (["config"], "Error: name an app, or a file with --file"),
        (["run", "-A", "-n", "shop"], "Error: -n and -A exclude each other; give one of them"),
        (
            ["run", "--port", "99999"],
            "Error: Invalid value for '--port': 99999 is not in the range",
        ),
    ],
    ids=[
        "nothing",
        "no command",
        "no option",
        "no file",
        "no format",
        "no app",
        "two scopes",
        "no port",
    ],
)
def test_a_slip_on_the_command_line_is_explained_and_ends_with_2(canaryd, arguments, expected):
    outcome = canaryd(*arguments)
    assert Exit.USAGE == outcome.code
    assert "" == outcome.out
    assert expected in outcome.err


def test_a_webhook_without_the_library_for_its_certificate_ends_with_3_and_what_to_install(
    canaryd, tmp_path, monkeypatch
):
    path = tmp_path / "config.yaml"
    path.write_text("scope: {mode: cluster}\nadmission: {keep: webhook, username: canaryd}\n")
    # As it is where the package was installed without its extras.
    monkeypatch.setattr("canaryd.cli.run.find_spec", lambda _name: None)
    outcome = canaryd("run", "--config", str(path))
    assert (Exit.INVALID, "") == (outcome.code, outcome.out)
    words = 'admission.keep: "webhook" needs the package cryptography: install canaryd[webhook]'
    assert f"canaryd: {words}\n" == outcome.err


def test_settings_that_are_wrong_end_with_3_and_all_problems(canaryd, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("log: {level: loud}\nworkers: 0\n")
    outcome = canaryd("run", "--config", str(path), "-n", "Shop")
    assert Exit.INVALID == outcome.code
    assert "" == outcome.out
    assert (
        "canaryd: 3 problems in the configuration:\n"
        '  -n: scope.namespaces[0]: "Shop" is not the name of a namespace, such as "shop"\n'
        f'  {path}:1: log.level: "loud" is not one of debug, info, warning, error\n'
        f"  {path}:2: workers: 0 is below the minimum of 1\n"
    ) == outcome.err


# --- exit codes ---


def test_the_numbers_are_an_interface():
    assert {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "INVALID": 3,
        "UNREACHABLE": 4,
        "TIMED_OUT": 5,
        "CONFLICT": 6,
        "REFUSED": 7,
    } == {name: int(code) for name, code in Exit.__members__.items()}


class Failing:
    """Standard input that raises when it is read: as if it happened in the middle of a command."""

    def __init__(self, what):
        self.buffer = self
        self._what = what

    def read(self, _size=-1):
        raise self._what


@pytest.mark.parametrize(
    ("what", "code", "err"),
    [
        (CommandError("no luck"), Exit.FAILED, "canaryd: no luck\n"),
        (CommandError("too late", Exit.TIMED_OUT), Exit.TIMED_OUT, "canaryd: too late\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (EOFError(), 130, "\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "canaryd: cannot write: No space lef",
        ),
    ],
    ids=[
        "a failure",
        "a failure with a code",
        "Ctrl-C",
        "the end of a terminal",
        "a reader that left",
        "a full disk",
    ],
)
def test_a_command_leaves_with_a_code_and_a_sentence(canaryd, what, code, err):
    outcome = canaryd("lint", "-", stdin=Failing(what))
    assert (code, "") == (outcome.code, outcome.out)
    assert outcome.err.startswith(err)
    assert "Traceback" not in outcome.err


def test_a_defect_of_ours_is_not_dressed_up(canaryd):
    with pytest.raises(ZeroDivisionError):
        canaryd("lint", "-", stdin=Failing(ZeroDivisionError()))


@pytest.mark.parametrize("arguments", [["--help"], ["version"]], ids=["the help", "a command"])
def test_a_reader_that_left_is_not_complained_about(arguments):
    read, write = os.pipe()
    os.close(read)
    # In its development mode Python complains of everything that goes wrong at exit.
    command = [sys.executable, "-X", "dev", "-m", "canaryd", *arguments]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (128 + signal.SIGPIPE, b"") == (done.returncode, done.stderr)


def test_output_that_cannot_be_written_is_a_failure():
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device, not a file
        command = [sys.executable, "-X", "dev", "-m", "canaryd", "version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert 1 == done.returncode
    assert b"canaryd: cannot write: No space left on device\n" == done.stderr


# --- version ---


def test_the_version_is_told_to_people(canaryd):
    expected = (0, f"canaryd {__version__}\n", "")
    for arguments in (["version"], ["--version"], ["-V"]):
        outcome = canaryd(*arguments)
        assert expected == (outcome.code, outcome.out, outcome.err)


def test_the_version_is_told_to_programs(canaryd):
    outcome = canaryd("version", "-o", "json")
    assert {"version": __version__, "python": platform.python_version()} == json.loads(outcome.out)
