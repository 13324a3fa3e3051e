"""
keepalived on this minion: what its configuration should be, and what keepalived itself says of one.
"""

from salt.exceptions import CommandExecutionError

import keepalived_conf

__virtualname__ = "keepalived"


def __virtual__():
    return __virtualname__


def config(settings):
    """
    The text of keepalived.conf for this minion. The VRRP password is taken from
    ``mysql_ha:secrets:vrrp`` and stands in the text: do not show or log it, see :py:func:`redact`.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    Raises ``CommandExecutionError`` when the settings do not describe a director of this name.

    CLI Example:

    .. code-block:: bash

        salt lvs1 keepalived.config '{"cluster": "shop", "nodes": {}, "endpoints": {}}'
    """
    password = __salt__["config.get"]("mysql_ha:secrets:vrrp", default=None)
    secrets = {} if password is None else {"vrrp": str(password)}
    try:
        return keepalived_conf.render(settings, __grains__["id"], secrets)
    except (KeyError, TypeError, ValueError) as error:
        raise CommandExecutionError(f"keepalived.conf for {__grains__['id']}: {error}") from error


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
