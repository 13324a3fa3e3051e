"""
TLS between the databases as a state: certificates that the formula makes, or those that it was given.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "mysql_tls"


def __virtual__():
    return __virtualname__


def certificate(name, address, hostnames=None, days=365, renew=30, key="ec", group="mysql"):  # pylint: disable=too-many-arguments
    """
    This host has a private key of its own and a certificate signed by the CA in the pillar
    (``mysql_ha:secrets:tls_ca`` and ``tls_ca_key``, which are read there and never are arguments). Makes new
    ones when the certificate is missing, ends soon, is for other names or from another CA; what is right is
    left alone.

    A server takes new files at its start or when it is told to: let the reload require and watch this state.

    name
        The folder that holds ``ca.pem``, ``cert.pem`` and ``key.pem``.

    address
        The address of this host that the other databases connect to.

    hostnames
        A list of further names of this host; the minion id always is one.

    days, renew
        How many days a certificate is valid (2 to 3650), and how many days before its end it is renewed (1 to
        less than ``days``).

    key
        What kind of private key: ``ec`` (P-256) or ``rsa`` (3072 bits).

    group
        The group that the database server runs in, which may read the private key.

    .. code-block:: yaml

        /etc/mysql/mysql_ha-tls:
          mysql_tls.certificate:
            - address: 192.168.1.5
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    wanted = {"name": name, "hostnames": hostnames, "days": days, "renew": renew, "key": key, "group": group}
    try:
        changes = __salt__["mysql_tls.differences"](address, **wanted)
        if not changes:
            info = __salt__["mysql_tls.info"](f"{name}/cert.pem")
            return dict(ret, comment=f"The certificate is as specified{_until(info, renew)}")
        why = "\n".join(__salt__["mysql_tls.wrong"](address, **wanted))
        if __opts__["test"]:
            return dict(ret, result=None, changes=changes, comment=f"The certificate would be made right:\n{why}")
        info = __salt__["mysql_tls.make"](address, **wanted)
    except (CommandExecutionError, SaltInvocationError) as error:
        return dict(ret, result=False, comment=str(error))
    return dict(
        ret, changes=changes, comment=f"The certificate has been made right{_until(info, renew)} Before:\n{why}"
    )


def given(name, ca_file, key_file, address, hostnames=None, user="mysql", renew=30):
    """
    The certificate that somebody else puts on this host can serve: it is there, the server can read it, it
    belongs to its key, leads to the CA, is valid now and is for this host. Nothing is ever changed; the
    comment has all that is wrong, each with its path.

    name
        The certificate file, in PEM.

    ca_file, key_file
        The certificates that are trusted, and the private key, in PEM.

    address, hostnames
        The address of this host that the other databases connect to, and a list of names that the certificate
        must have too.

    user
        The system's user that the database server runs as.

    renew
        How many days before its end the comment says that it ends soon.

    .. code-block:: yaml

        /etc/ssl/mysql1.pem:
          mysql_tls.given:
            - ca_file: /etc/ssl/databases.pem
            - key_file: /etc/ssl/private/mysql1.key
            - address: 192.168.1.5
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        wrong = __salt__["mysql_tls.given_wrong"](name, ca_file, key_file, address, hostnames=hostnames, user=user)
        if wrong:
            return dict(ret, result=False, comment="The given certificate cannot serve:\n" + "\n".join(wrong))
        info = __salt__["mysql_tls.info"](name)
    except (CommandExecutionError, SaltInvocationError) as error:
        return dict(ret, result=False, comment=str(error))
    return dict(ret, comment=f"The given certificate can serve{_until(info, renew)}")


def _until(info, renew):
    soon = f", in {info['days_left']} days: see to a new one in time" if info["days_left"] <= renew else ""
    return f"; it is valid until {info['not_after']} UTC{soon}."
