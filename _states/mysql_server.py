"""
This minion's MySQL or MariaDB server as states: held back until it is configured, configured, running, restarted.
"""

from salt.exceptions import CommandExecutionError

import mysql_copy
import mysql_settings

__virtualname__ = "mysql_server"


def __virtual__():
    return __virtualname__


def held(name, flavor):
    """
    A server that is not installed yet does not start by its installation: its first start is one with its
    configuration, which only the installed server can check. One that is installed is left alone.

    name
        The service's name.

    flavor
        ``mariadb`` or ``mysql``.

    .. code-block:: yaml

        mariadb:
          mysql_server.held:
            - flavor: mariadb
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} is installed."}
    try:
        if __salt__["mysql_server.binary"](flavor):
            return ret
        if __salt__["service.masked"](name, True):
            return dict(ret, comment=f"{name} is held back until it is configured.")
        changes = {"held": {"old": False, "new": True}}
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment=f"{name} would be held back until it is configured.")
        __salt__["service.mask"](name, True)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, changes=changes, comment=f"{name} is held back until it is configured.")


def configured(name, flavor, node, port, settings, tls=None):
    """
    The server's option file is as specified, and so is the running server as far as it can be without a restart.
    The server itself checks the file before it is used; when it refuses, the file that is there stays.

    name
        The option file.

    flavor
        ``mariadb`` or ``mysql``.

    node, port, settings
        The node's entry in ``mysql_ha:nodes``, ``mysql_ha:database:port`` and ``mysql_ha:database:settings``.

    tls
        The files ``ca``, ``certificate`` and ``key`` that the server shows; None for what it makes itself.

    .. code-block:: yaml

        /etc/mysql/mariadb.conf.d/90-mysql_ha.cnf:
          mysql_server.configured:
            - flavor: mariadb
            - node: {server_id: 1, address: 192.168.1.5}
            - port: 3306
            - settings: {max_connections: 500}
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        options = __salt__["mysql_server.options"](flavor, node, port, settings, tls)
        found = __salt__["mysql_server.compare"](name, flavor, options)
        return _configured(ret, flavor, options, found)
    except CommandExecutionError as error:
        return dict(ret, result=False, comment=str(error))


def _configured(ret, flavor, options, found):
    path = ret["name"]
    refused = __salt__["mysql_server.check"](flavor, options) if found["file"] else []
    if refused:
        return dict(ret, result=False, comment="\n".join(
            ["The server refuses this configuration; nothing was changed:", *(f"  {said}" for said in refused),
             "Correct mysql_ha:database:settings."]))  # fmt: skip
    # What the file says otherwise is one change, whether the running server takes it now or at its next start.
    changes = _hidden({**found["running"], **found["file"]})
    if changes and __opts__["test"]:
        return dict(ret, result=None, changes=changes, comment=_comment(found, "would be"))
    if found["file"]:
        __salt__["mysql_server.write"](path, options, any(mysql_settings.is_hidden(option) for option in options))
    ret["changes"] = changes
    left = __salt__["mysql_server.set_running"](found["running"]) if found["running"] else {}
    if left:
        sentences = [f"  {variable}: {why}" for variable, why in left.items()]
        return dict(ret, result=False, comment="\n".join(["The running server refuses:", *sentences]))
    if found["overridden"]:
        names = ", ".join(found["overridden"])
        return dict(ret, result=False, comment=(
            f"Another option file, or SET PERSIST, overrides {names} at each start. Take it out there, or: "
            f"{' '.join(f'RESET PERSIST {variable};' for variable in found['overridden'])}"))  # fmt: skip
    return dict(ret, comment=_comment(found, "is"))


def _comment(found, verb):
    text = f"The configuration {verb} {'changed' if found['file'] or found['running'] else 'as specified'}."
    if found["pending"]:
        what = ", ".join(
            f"{variable} (running {change['old']}, {_specified(change['new'])})"
            for variable, change in _hidden(found["pending"]).items()
        )
        text += f" Restart pending: {what}. Restart one database after the other: salt-run state.orchestrate " \
                "mysql_ha.orch.restart"  # fmt: skip
    return text


def _specified(value):
    return "no longer specified" if value is None else f"specified {value}"


def _hidden(changes):
    return {
        option: {side: "(hidden)" if value is not None else None for side, value in change.items()}
        if mysql_settings.is_hidden(option)
        else change
        for option, change in changes.items()
    }


def running(name, wait=120):
    """
    The server runs, answers, and starts at boot. A server that runs is not touched.

    name
        The service's name.

    wait
        For how many seconds (1 to 3600) a start may take.

    .. code-block:: yaml

        mariadb:
          mysql_server.running: []
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} runs and starts at boot."}
    try:
        runs = __salt__["mysql_server.answers"]()
        enabled = bool(__salt__["service.enabled"](name))
        if not runs:
            ret["changes"]["running"] = {"old": False, "new": True}
        if not enabled:
            ret["changes"]["enabled"] = {"old": False, "new": True}
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            return dict(ret, result=None, comment=f"{name} would be started and enabled.")
        if __salt__["service.masked"](name, False):
            return dict(ret, result=False, changes={}, comment=(
                f"{name} is masked, by hand. If it shall run: systemctl unmask {name}; then apply again."))  # fmt: skip
        _start(name, enabled, runs, wait)
    except CommandExecutionError as error:
        return dict(ret, result=False, changes={}, comment=f"{error}{_hint(error)}")
    return ret


def _start(name, enabled, runs, wait):
    if __salt__["service.masked"](name, True):
        __salt__["service.unmask"](name, True)
    if not enabled:
        __salt__["service.enable"](name)
    if not runs:
        __salt__["mysql_server.start"](name, wait)


def _hint(error):
    if "does not start" not in str(error):
        return ""
    return (
        "\nIf it is its data that it cannot recover from, have it made anew from the other one, and what is here kept: "
        f"salt-run state.orchestrate mysql_ha.orch.rebuild pillar='{{rebuild: {{node: {__opts__['id']}}}}}'"
    )


def restarted(name, service, flavor, node, port, settings, tls=None, wait=120):
    """
    The server was restarted if something that is specified waits for that, and else left alone. A configuration
    that it cannot start with is taken back. Meant for one server at a time: ``mysql_ha.orch.restart``.

    name
        The option file.

    service
        The service's name.

    flavor, node, port, settings, tls
        As for :py:func:`configured`.

    wait
        For how many seconds (1 to 3600) a start may take.

    .. code-block:: yaml

        /etc/mysql/mariadb.conf.d/90-mysql_ha.cnf:
          mysql_server.restarted:
            - service: mariadb
            - flavor: mariadb
            - node: {server_id: 1, address: 192.168.1.5}
            - port: 3306
            - settings: {innodb_log_file_size: 256M}
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "Nothing waits for a restart."}
    try:
        options = __salt__["mysql_server.options"](flavor, node, port, settings, tls)
        found = __salt__["mysql_server.compare"](name, flavor, options)
        if found["file"]:
            return dict(ret, result=False, comment=(
                f"{name} is not as specified: {', '.join(found['file'])}. Apply mysql_ha first."))  # fmt: skip
        if not found["pending"]:
            return ret
        ret["changes"] = _hidden(found["pending"])
        if __opts__["test"]:
            return dict(ret, result=None, comment=f"{service} would be restarted.")
        __salt__["mysql_server.restart"](name, service, wait)
    except CommandExecutionError as error:
        return dict(ret, result=False, changes={}, comment=str(error))
    return dict(ret, comment=f"{service} was restarted.")


def tls_loaded(name, certificate, address, port, made=None):
    """
    The running server shows the certificate that is in its file. It reads a new one without a restart, and
    connections stay.

    name
        Not used.

    certificate
        The file.

    address, port
        Where the server listens for its peer.

    made
        What ``mysql_tls.certificate`` makes the file with (its ``address`` and so on), for the prediction.

    .. code-block:: yaml

        the new certificate:
          mysql_server.tls_loaded:
            - certificate: /etc/mysql/mysql_ha-tls/cert.pem
            - address: 192.168.1.5
            - port: 3306
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The server shows its present certificate."}
    changes = {"certificate": {"old": "another one", "new": certificate}}
    try:
        if mysql_copy.is_closed(__salt__["mysql_data.status"]()):
            return dict(ret, comment="The server is closed until a copy is complete, and is then restarted.")
        if __salt__["mysql_server.variable"]("ssl_cert") != certificate:
            return dict(ret, comment="Restart pending: the server was started with another certificate's file.")
        shown = __salt__["mysql_server.tls_fingerprint"](address, port)
        new = bool(__opts__["test"] and made and __salt__["mysql_tls.differences"](**made))
        if not new and shown == _fingerprint(certificate):
            return ret
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment="The server would read its certificate again.")
        __salt__["mysql_server.reload_tls"]()
        shown = __salt__["mysql_server.tls_fingerprint"](address, port)
    except CommandExecutionError as error:
        if __opts__["test"]:
            # Its first start is with the certificate that is made before.
            return dict(ret, comment=f"The server would start with its present certificate ({error}).")
        return dict(ret, result=False, comment=str(error))
    if shown != _fingerprint(certificate):
        return dict(ret, result=False, comment=(
            f"The server has read its certificate again and still shows another one than {certificate}."))  # fmt: skip
    return dict(ret, changes=changes, comment="The server has read its certificate again.")


def _fingerprint(certificate):
    return __salt__["mysql_tls.info"](certificate)["fingerprint"].replace(":", "").lower()
