"""
keepalived on this minion: what its configuration should be, what keepalived itself says of one, and whether what it
runs with, and the kernel's IPVS table, are what the pillar asks for.
"""

import ipaddress
import logging
import re
import tempfile
import time
from collections.abc import Mapping
from contextlib import contextmanager

import salt.pillar
from salt.exceptions import CommandExecutionError, SaltInvocationError

import host_programs
import ipvs_kernel
import ipvs_plan
import ipvs_rules
import keepalived_conf
import keepalived_dump
import keepalived_networks
import keepalived_process
import keepalived_table
import keepalived_verdict
import keepalived_vrrp

log = logging.getLogger(__name__)

__virtualname__ = "keepalived"

CHECK_SECONDS = 60
MAX_WAIT = 3600
POLL_SECONDS = 0.25
# After how long it is certain that keepalived writes no data where they are expected.
BLIND_SECONDS = 5.0
TRIES = 5
MAX_SENTENCES = 10
# What settings that are not valid end with.
_ERRORS = (AttributeError, KeyError, TypeError, ValueError)


def __virtual__():
    return __virtualname__


# --- the configuration ---


def config(settings):
    """
    The text of keepalived.conf for this minion. The VRRP passwords are taken from
    ``mysql_ha:secrets:vrrp`` and stand in the text: do not show or log it, see :py:func:`redact`.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    Raises ``CommandExecutionError`` when the settings do not describe a director of this name.

    CLI Example:

    .. code-block:: bash

        salt lvs1 keepalived.config '{"cluster": "shop", "nodes": {}, "endpoints": {}}'
    """
    password = __salt__["config.get"]("mysql_ha:secrets:vrrp", default=None)
    # One for all instances, or a mapping by their names.
    secrets = {} if password is None else {"vrrp": password if isinstance(password, Mapping) else str(password)}
    try:
        return keepalived_conf.render(settings, __grains__["id"], secrets)
    except _ERRORS as error:
        raise CommandExecutionError(f"keepalived.conf for {__grains__['id']}: {error}") from error


def foreign_addresses(settings):
    """
    Which virtual addresses are in none of the networks of the interface that gets them, as sentences. Such an address
    works only where a router sends its packets to the directors.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    Raises ``CommandExecutionError`` when the settings do not describe a director of this name.

    CLI Example:

    .. code-block:: bash

        salt lvs1 keepalived.foreign_addresses '{"cluster": "shop", "nodes": {}, "endpoints": {}}'
    """
    present = {name: _addresses(found) for name, found in __salt__["network.interfaces"]().items()}
    try:
        return keepalived_networks.foreign_addresses(settings, __grains__["id"], present)
    except _ERRORS as error:
        raise CommandExecutionError(f"the virtual addresses of {__grains__['id']}: {error}") from error


def _addresses(interface):
    """What an interface has, as 'address/netmask' or 'address/prefix'."""
    own = [*interface.get("inet", ()), *interface.get("secondary", ())]
    found = [f"{one['address']}/{one['netmask']}" for one in own if one.get("netmask")]
    return found + [
        f"{one['address']}/{one['prefixlen']}" for one in interface.get("inet6", ()) if one.get("prefixlen")
    ]


def redact(text):
    """
    A keepalived.conf with its password replaced, fit to be shown.

    text
        The configuration, or any part of it.

    CLI Example:

    .. code-block:: bash

        salt lvs1 keepalived.redact 'auth_pass 1111'
    """
    return keepalived_conf.redact(text)


def current(path):
    """
    The configuration as it is on this host, fit to be shown: without its password. None when there is no such file.

    path
        Path of keepalived.conf.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' keepalived.current /etc/keepalived/keepalived.conf
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return redact(file.read())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandExecutionError(f"{path} cannot be read: {error}") from error


def installed():
    """
    Whether there is a keepalived that could check a configuration.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' keepalived.installed
    """
    return bool(__salt__["cmd.which"]("keepalived"))


def version():
    """
    The version of the keepalived that is installed, such as ``2.3.4``; None if there is none, or it does not say.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' keepalived.version
    """
    try:
        return _version_of(host_programs.find("keepalived"))
    except host_programs.ProgramError:
        return None


def _version_of(program):
    """The version that a keepalived says it is; None if it does not say."""
    try:
        _, said = host_programs.outcome([program, "--version"], timeout=CHECK_SECONDS)
    except host_programs.ProgramError:
        return None
    found = re.search(r"Keepalived v([0-9.]+)", said)
    return found[1] if found else None


def check(path):
    """
    What keepalived on this host says of a configuration, by ``keepalived --config-test``: whether it is ``accepted``,
    and in ``comment`` keepalived's own words with what its exit status means. Changes nothing.

    path
        The configuration file.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' keepalived.check /etc/keepalived/keepalived.conf
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError as error:
        # keepalived ends with the status 0 when there is no such file.
        return {"accepted": False, "comment": f"{path} cannot be read: {error.strerror}"}
    return _tested(path, text)


def check_text(text):
    """
    What keepalived on this host says of a configuration that is not in a file yet, see :py:func:`check`.

    text
        The configuration.

    CLI Example:

    .. code-block:: bash

        salt lvs1 keepalived.check_text 'global_defs { }'
    """
    return _text_tested(text, None)


def accepts(program, settings):
    """
    What some keepalived says of the configuration that the settings make, see :py:func:`check`: before that program is
    installed, or in use. Changes nothing.

    program
        Path of the program.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    Raises ``CommandExecutionError`` when the settings do not describe a director of this name.

    CLI Example:

    .. code-block:: bash

        salt lvs1 keepalived.accepts /root/stage/usr/sbin/keepalived '{"cluster": "shop", "nodes": {}, "endpoints": {}}'
    """
    found = _text_tested(config(settings), program)
    if not found["accepted"]:
        found["comment"] = f"it refuses the configuration: {found['comment']}"
    return found


def _text_tested(text, program):
    """What a keepalived says of a configuration that is in no file; None for the one that is installed."""
    try:
        # Readable for root alone, since a password may stand in it.
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="keepalived.", suffix=".conf") as file:
            file.write(text)
            file.flush()
            return _tested(file.name, text, program)
    except OSError as error:
        return {"accepted": False, "comment": f"it cannot be written to a file to be checked: {error.strerror}"}


def _tested(path, text, program=None):
    """What ``keepalived --config-test`` says of a file that holds this text."""
    if not text.strip():
        return {"accepted": False, "comment": "it is empty, which keepalived takes for a configuration"}
    try:
        program = program or host_programs.find("keepalived")
        status, said = host_programs.outcome([program, "--config-test", "--use-file", path], timeout=CHECK_SECONDS)
    except host_programs.ProgramError as error:
        return {"accepted": False, "comment": f"keepalived could not check it: {error}"}
    found = keepalived_verdict.verdict(status, said, text)
    return {"accepted": found.accepted, "comment": keepalived_conf.redact(found.comment)}


# --- the running keepalived ---


def in_use(settings):
    """
    Whether keepalived runs, and with the configuration that the settings make: ``running``, ``configuration`` (None if
    that cannot be seen), ``only_at_start``, the keywords that differ and that it takes only when it starts, and
    ``replaced``: None, or the version that runs while another program has been installed since.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    CLI Example:

    .. code-block:: bash

        salt lvs1 keepalived.in_use '{"cluster": "shop", "nodes": {}, "endpoints": {}}'
    """
    new = config(settings)
    try:
        running = keepalived_process.find()
        old = keepalived_process.configuration(running) if running else None
        is_replaced = running is not None and keepalived_process.is_replaced(running)
    except OSError as error:
        raise CommandExecutionError(f"Cannot see what runs on this host: {error}") from error
    return {
        "running": running is not None,
        "configuration": None if old is None else keepalived_process.same(old, new),
        "only_at_start": [] if old is None else keepalived_process.only_at_start(old, new),
        "replaced": (_version_of(keepalived_process.program(running)) or "the former one") if is_replaced else None,
    }


def in_use_accepts(settings):
    """
    Whether the keepalived that runs takes the configuration that the settings make, see :py:func:`accepts`. It may be
    of another version than the one that is installed.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    Raises ``CommandExecutionError`` when keepalived does not run.

    CLI Example:

    .. code-block:: bash

        salt lvs1 keepalived.in_use_accepts '{"cluster": "shop", "nodes": {}, "endpoints": {}}'
    """
    return accepts(keepalived_process.program(_running()), settings)


def held_addresses(settings):
    """
    The virtual addresses that this host has at the moment, in the order of the pillar. Empty: it is a standby.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    Raises ``CommandExecutionError`` when the settings do not describe a director.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' keepalived.held_addresses '{"cluster": "shop", "nodes": {}, "endpoints": {}}'
    """
    own = {*__salt__["network.ip_addrs"](include_loopback=True), *__salt__["network.ip_addrs6"](include_loopback=True)}
    try:
        virtual = [vip.address for name in keepalived_vrrp.instances(settings)
                   for vip in keepalived_vrrp.vips(settings, name)]  # fmt: skip
    except _ERRORS as error:
        raise CommandExecutionError(f"the virtual addresses of {__grains__['id']}: {error}") from error
    present = {ipaddress.ip_address(text.partition("%")[0]) for text in own}
    return [str(address) for address in dict.fromkeys(virtual) if address in present]


def restart(settings, timeout=60):
    """
    Restart keepalived, and wait until the one that is installed runs with the configuration that the settings make, and
    has read all of it. The addresses that it holds go to another director; connections through it stay where the kernel
    of that one knows them.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    timeout
        For how many seconds (1 to 3600) to wait at most.

    Raises ``CommandExecutionError`` if it does not run by then, with what it has otherwise.

    CLI Example:

    .. code-block:: bash

        salt lvs1 keepalived.restart '{"cluster": "shop", "nodes": {}, "endpoints": {}}'
    """
    seconds = _seconds(timeout)
    asked = _asked(settings)
    if not __salt__["service.restart"]("keepalived"):
        raise CommandExecutionError("keepalived does not start; see: journalctl --unit keepalived")
    end = time.monotonic() + seconds
    while True:
        found = in_use(settings)
        if found["running"] and found["configuration"] is not False and not found["replaced"]:
            break
        if time.monotonic() > end:
            raise CommandExecutionError(
                f"{seconds} seconds after a restart keepalived does not run with its configuration; "
                "see: journalctl --unit keepalived"
            )
        time.sleep(POLL_SECONDS)
    if asked.wanted:
        _wait_for(asked, end)
    return True


def reload(settings, timeout=30):
    """
    Have keepalived read its configuration again, and wait until it runs with the one that the settings make.
    Connections stay, and so do the addresses where they are.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    timeout
        For how many seconds (1 to 3600) to wait at most.

    Raises ``CommandExecutionError`` if it does not run with it by then.

    CLI Example:

    .. code-block:: bash

        salt lvs1 keepalived.reload '{"cluster": "shop", "nodes": {}, "endpoints": {}}'
    """
    seconds = _seconds(timeout)
    if not __salt__["service.reload"]("keepalived"):
        raise CommandExecutionError("keepalived could not be told to reload; see: journalctl --unit keepalived")
    end = time.monotonic() + seconds
    while True:
        found = in_use(settings)
        if found["running"] and found["configuration"] is not False:
            return True
        if time.monotonic() > end:
            raise CommandExecutionError(
                f"{seconds} seconds after a reload keepalived does not run with its new configuration; "
                "see: journalctl --unit keepalived"
            )
        time.sleep(POLL_SECONDS)


# --- the kernel's table ---


def differences(settings=None):
    """
    In what this director is not as the pillar says: ``keepalived``, sentences about what keepalived has otherwise, and
    ``table``, what would be changed in the kernel's table, as ``{service or server: {field: {old, new}}}``. Empty when
    all is as it should be. Changes nothing.

    Servers that a check has taken out, and weights that a check has set, are as they should be. So is what stands in
    the table outside of the endpoints.

    settings
        The ``mysql_ha`` pillar; this minion's own if left out.

    Raises ``CommandExecutionError`` when keepalived does not run, or the table cannot be read.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' keepalived.differences
    """
    asked = _asked(settings)
    if not asked.wanted:
        return {}
    held, present = _look(asked, _held(_running(), asked))
    found = {
        "keepalived": [_BLIND] if held is None else keepalived_table.disagreements(asked.wanted, held),
        "table": ipvs_plan.as_dict(keepalived_table.corrections(asked.wanted, present, held, asked.sorry)),
    }
    return {name: value for name, value in found.items() if value}


def correct(settings=None, timeout=30, test=False):
    """
    Make the kernel's table what the pillar says, within what keepalived looks after here, see :py:func:`differences`.
    First waits until keepalived has what the pillar says; what it does by itself it is left to do.

    settings
        The ``mysql_ha`` pillar; this minion's own if left out.

    timeout
        For how many seconds (1 to 3600) to wait at most for keepalived.

    test
        true: change nothing, only return what would change once keepalived has read the new configuration.

    Returns the ``changes`` that were made, what ``failed``, by name, with the reason, and a ``comment`` if there is
    something to say. Raises ``CommandExecutionError`` when keepalived does not run or does not take the configuration.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' keepalived.correct
    """
    seconds = _seconds(timeout)
    asked = _asked(settings)
    if not asked.wanted:
        return {"changes": {}, "failed": {}, "comment": "The pillar has no endpoints."}
    if test:
        return _foreseen(asked)
    held = _wait_for(asked, time.monotonic() + seconds)
    done, left = [], []
    for _ in range(TRIES):
        held, present = _look(asked, held)
        left = keepalived_table.corrections(asked.wanted, present, held, asked.sorry)
        if not left:
            return {"changes": ipvs_plan.as_dict(done), "failed": {}, "comment": "" if held is not None else _BLIND}

        def decide(now, held=held):
            return keepalived_table.corrections(asked.wanted, now, held, asked.sorry)

        with _told(), ipvs_kernel.Ipvs() as ipvs:
            outcome = ipvs_kernel.apply(ipvs, decide)
        done += outcome.done
        if outcome.refused:
            failed = {refusal.change.name: refusal.reason for refusal in outcome.refused}
            return {"changes": ipvs_plan.as_dict(done), "failed": failed, "comment": ""}
    failed = {change.name: "somebody else changes it again and again" for change in left}
    return {"changes": ipvs_plan.as_dict(done), "failed": failed, "comment": ""}


def leaving(settings=None):
    """
    Which services keepalived has in the kernel's table and will remove once it has read the configuration that the
    settings make. Empty if it does not run, or does not say what it has.

    settings
        The ``mysql_ha`` pillar; this minion's own if left out.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' keepalived.leaving
    """
    asked = _asked(settings)
    with _told():
        running = keepalived_process.find()
    held = _held(running, asked) if running else None
    return sorted(key.name for key in held or () if key not in asked.wanted)


_BLIND = (
    "What keepalived knows of its servers could not be read, so servers that are missing and weights were left as they "
    "are: a check may be the reason."
)
_NOT_RUNNING = (
    "keepalived does not run on this host, so nobody looks after its endpoints, and there is nothing to compare the "
    "table with."
)


@contextmanager
def _told():
    """Raise as Salt does what the parts below say in their own way."""
    try:
        yield
    except ipvs_rules.Wrong as error:
        raise SaltInvocationError(str(error)) from error
    except (ipvs_kernel.IpvsError, ipvs_kernel.NetlinkError, OSError) as error:
        raise CommandExecutionError(str(error)) from error


def _asked(settings):
    """What the settings, or this minion's pillar, ask for."""
    try:
        return keepalived_table.asked(_own_pillar() if settings is None else settings)
    except _ERRORS as error:
        raise CommandExecutionError(f"mysql_ha:endpoints make no table: {error}") from error


def _own_pillar():
    """This minion's ``mysql_ha`` pillar as it is now. What the minion keeps of it may be of yesterday."""
    # Not pillar.items: it masks all values since Salt 3008.
    found = salt.pillar.get_pillar(
        __opts__, dict(__grains__), __opts__["id"], __opts__.get("saltenv"), pillarenv=__opts__.get("pillarenv")
    ).compile_pillar()
    if found.get("_errors"):
        raise CommandExecutionError(f"The pillar cannot be made: {'; '.join(map(str, found['_errors']))}")
    return found.get("mysql_ha") or {}


def _seconds(timeout):
    with _told():
        return ipvs_rules.number("timeout", timeout, 1, MAX_WAIT, " of seconds")


def _running():
    with _told():
        found = keepalived_process.find()
    if found is None:
        raise CommandExecutionError(_NOT_RUNNING)
    return found


def _present():
    """The kernel's table; an empty one where the kernel has no IPVS loaded yet."""
    with _told():
        try:
            with ipvs_kernel.Ipvs() as ipvs:
                return ipvs.table()
        except ipvs_kernel.IpvsError as error:
            if not error.is_not_loaded:
                raise
            return {}


def _held(running, asked):
    """What keepalived knows of its servers; None if it does not say so, or not as expected."""
    text = keepalived_process.data(running, asked.dump_file)
    if text is None:
        return None
    try:
        held = keepalived_dump.parse(text)
    except ValueError as error:
        log.warning("What keepalived wrote about its servers cannot be read: %s", error)
        return None
    return {key: entry for key, entry in held.items() if key not in asked.unnamed}


def _look(asked, held):
    """
    What keepalived knows, and the kernel's table, of one and the same moment: a check may take a server out between
    the two, and a server that is wrongly put back would get connections. ``held`` is what it knew just before.
    """
    present = _present()
    for _ in range(TRIES if held is not None else 0):
        before, held = held, _held(_running(), asked)
        if held == before or held is None:
            break
        present = _present()
    return held, present


def _wait_for(asked, end):
    """Wait until keepalived has what is asked for; what it knows then, or None if it does not say."""
    blind_at = None
    while True:
        held = _held(_running(), asked)
        wrong = [] if held is None else keepalived_table.disagreements(asked.wanted, held)
        now = time.monotonic()
        if held is None:
            blind_at = now + BLIND_SECONDS if blind_at is None else blind_at
            if now > min(blind_at, end):
                return None
        elif not wrong:
            return held
        else:
            blind_at = None
            if now > end:
                more = [f"and {len(wrong) - MAX_SENTENCES} more"] if len(wrong) > MAX_SENTENCES else []
                sentences = ["keepalived does not run with what the pillar says:", *wrong[:MAX_SENTENCES], *more]
                raise CommandExecutionError("\n  ".join(sentences))
        time.sleep(POLL_SECONDS)


def _foreseen(asked):
    """What :py:func:`correct` will find to do once keepalived runs with what is asked for."""
    with _told():
        running = keepalived_process.find()
    held = _held(running, asked) if running else {}
    if held and not keepalived_table.disagreements(asked.wanted, held):
        held, present = _look(asked, held)
    else:
        present = _present()
        if held is not None:
            present, held = keepalived_table.after_reload(asked.wanted, present, held)
    changes = keepalived_table.corrections(asked.wanted, present, held, asked.sorry)
    return {"changes": ipvs_plan.as_dict(changes), "failed": {}, "comment": "" if held is not None else _BLIND}
