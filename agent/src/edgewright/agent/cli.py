"""``edgewright-agent target | enroll | first-boot | run | renew | rollback | status | doctor | tuf``.

Every error is one sentence with its remedy on standard error, and its number is the exit status; ``--debug``
shows where it came from.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from edgewright.agent.configuration import read_settings
from edgewright.wire.errors import ConfigurationError, EdgewrightError, EnrolmentError

TOKEN_VARIABLE = "EDGEWRIGHT_TOKEN"  # noqa: S105 - the variable's name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.command(given))
    except EdgewrightError as error:
        if given.debug:
            logging.getLogger(__name__).exception("the command ended with an error")
        sys.stderr.write(f"{error}\n")
        return error.number
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        # Top of the process: what nobody expected is one sentence too, and with --debug its origin.
        if given.debug:
            raise
        unexpected = EdgewrightError(f"The command ended unexpectedly: {error!r}.")
        sys.stderr.write(f"{unexpected}\n")
        return unexpected.number


def _enroll(given: argparse.Namespace) -> int:
    from edgewright.agent.enrolment import Request, Trusted, enrol
    from edgewright.agent.owntarget import resolve

    token = given.token or os.environ.get(TOKEN_VARIABLE, "")
    if not token:
        raise EnrolmentError(f"No token was given, neither --token nor {TOKEN_VARIABLE}.")
    request = Request(given.device, resolve(given.target), dict(_tag(text) for text in given.tag), token)
    path = enrol(given.controller, request, given.data, Trusted(given.fingerprint, given.ca))
    _say(f"Device {given.device} is enrolled. Start it with: edgewright-agent run --config {path}")
    return 0


def _first_boot(given: argparse.Namespace) -> int:
    from edgewright.agent.firstboot import enrol_board

    _say(f"This board is enrolled: {enrol_board(given.file, given.data)}")
    return 0


def _renew(given: argparse.Namespace) -> int:
    from edgewright.agent.renewal import renew

    settings = read_settings(given.config)
    identity = renew(settings.folder, settings.door)
    _say(f"Device {identity.device} has a new certificate; the agent shows it at its next connection.")
    return 0


def _run(given: argparse.Namespace) -> int:
    from edgewright.agent.footprint import load_when_used, use_one_arena

    use_one_arena()
    for module in ("urllib.request", "backports.zstd"):
        load_when_used(module)
    from edgewright.agent.servicemanager import set_up_log
    from edgewright.agent.supervisor import run_agent

    set_up_log(logging.DEBUG if given.debug else logging.INFO)
    run_agent(read_settings(given.config))
    return 0


def _tuf(given: argparse.Namespace) -> int:
    from edgewright.agent.tuf_client import TufClient

    client = TufClient(given.metadata_dir, given.metadata_url)
    try:
        if given.action == "init":
            if given.root is None:
                raise ConfigurationError("No root was named.")
            client.init(given.root)
        elif given.action == "refresh":
            client.refresh()
        else:
            client.download(given.target_name, given.target_base_url, given.target_dir)
    except EdgewrightError as error:
        # The suite's contract knows two exit statuses; the error's own number stands in the sentence.
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _roll_back(given: argparse.Namespace) -> int:
    from edgewright.agent.byhand import order_roll_back

    _say(order_roll_back(read_settings(given.config).hand_socket))
    return 0


def _status(given: argparse.Namespace) -> int:
    from edgewright.agent.status import describe

    for line in describe(read_settings(given.config)):
        _say(line)
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from edgewright.agent.doctor import examine

    findings = examine(read_settings(given.config))
    for finding in findings:
        _say(f"{'good' if finding.ok else 'BAD '}  {finding.said}")
        if finding.remedy:
            _say(f"      {finding.remedy}")
    return 0 if all(finding.ok for finding in findings) else 1


def _target(given: argparse.Namespace) -> int:
    from edgewright.agent.owntarget import describe_targets, own_facts

    facts = own_facts()
    if given.config is not None:
        settings = read_settings(given.config)
        facts = own_facts(settings.machine, settings.runtime.environments)
    for line in describe_targets(facts):
        _say(line)
    return 0


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigurationError(f"The tag {text!r} is not of the form key=value.")
    return key, value


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgewright-agent", description="The device side of Edgewright.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    enroll = commands.add_parser("enroll", parents=[shared], help="join a fleet with a one-time token")
    enroll.set_defaults(command=_enroll)
    enroll.add_argument("--controller", required=True, metavar="URL", help="the controller's HTTPS address")
    enroll.add_argument("--token", default="", help=f"better in the environment, as {TOKEN_VARIABLE}")
    enroll.add_argument("--device", required=True, metavar="ID", help="this device's id")
    enroll.add_argument("--target", required=True, help="device target, or auto for the best that fits")
    enroll.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="may be repeated")
    enroll.add_argument("--data", required=True, type=Path, metavar="DIR", help="what the agent keeps")

    enroll.add_argument(
        "--fingerprint", default="", metavar="SHA256", help="of the fleet's authority, if not in the token"
    )
    enroll.add_argument(
        "--ca", type=Path, metavar="FILE", help="the authority's certificate, brought by hand"
    )

    target = commands.add_parser("target", parents=[shared], help="which targets this device fits")
    target.set_defaults(command=_target)
    target.add_argument("--config", type=Path, metavar="FILE", help="agent.toml, once the device has one")

    first_boot = commands.add_parser("first-boot", parents=[shared], help="enrol as a file says, once")
    first_boot.set_defaults(command=_first_boot)
    first_boot.add_argument("--from", dest="file", required=True, type=Path, metavar="FILE", help="TOML")
    first_boot.add_argument("--data", required=True, type=Path, metavar="DIR", help="what the agent keeps")
    _add_tuf(commands, shared)
    for name, command, text in (
        ("run", _run, "run the agent"),
        ("renew", _renew, "ask for a new certificate now; the agent does it by itself when it is due"),
        ("rollback", _roll_back, "go back to the last good model now; the agent has to run"),
        ("status", _status, "what runs, what waits, what went wrong"),
        ("doctor", _doctor, "examine this device, in words; exit status 1 if anything is bad"),
    ):
        sub = commands.add_parser(name, parents=[shared], help=text)
        sub.set_defaults(command=command)
        sub.add_argument("--config", required=True, type=Path, metavar="FILE", help="agent.toml")
    return parser


def _add_tuf(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", shared: argparse.ArgumentParser
) -> None:
    tuf = commands.add_parser("tuf", parents=[shared], help="check any TUF repository over HTTP")
    tuf.set_defaults(command=_tuf)
    tuf.add_argument("--metadata-dir", required=True, type=Path, metavar="DIR", help="trusted metadata")
    tuf.add_argument("--metadata-url", default="", metavar="URL", help="the repository's metadata")
    tuf.add_argument("--target-name", action="append", default=[], metavar="PATH", help="may be repeated")
    tuf.add_argument("--target-base-url", default="", metavar="URL", help="the repository's targets")
    tuf.add_argument("--target-dir", type=Path, default=Path(), metavar="DIR", help="downloaded files")
    tuf.add_argument("action", choices=("init", "refresh", "download"), help="what to do")
    tuf.add_argument("root", type=Path, nargs="?", metavar="ROOT", help="the root to trust, for init")


if __name__ == "__main__":
    sys.exit(main())
