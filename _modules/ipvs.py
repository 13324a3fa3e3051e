"""
The kernel's IPVS table, read and shown by speaking netlink to the kernel: no program is started and no
package is needed, so this loads on every Linux minion.
"""

import errno
import ipaddress

from salt.exceptions import CommandExecutionError, SaltInvocationError

import ipvs_model
from ipvs_netlink import NetlinkError

__virtualname__ = "ipvs"
__func_alias__ = {"list_": "list"}

PROTOCOLS = ("tcp", "udp", "sctp")


def __virtual__():
    if __grains__.get("kernel", "Linux") != "Linux":
        return (False, "The ipvs execution module cannot be loaded: IPVS is a part of the Linux kernel.")
    return __virtualname__


def list_(protocol=None, address=None, port=None, fwmark=None):
    """
    The virtual services in this kernel's table with their real servers, by name: ``tcp 192.168.1.100:3306``
    or ``fwmark 5 ipv4``. Only what is set is shown. Every argument narrows the list; together they all hold.

    protocol
        ``tcp``, ``udp`` or ``sctp``.

    address
        An IPv4 or IPv6 address, in any spelling.

    port
        0 to 65535.

    fwmark
        1 to 4294967295.

    Raises ``SaltInvocationError`` for an argument that names nothing, ``CommandExecutionError`` when the
    table cannot be read.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' ipvs.list
        salt 'lvs*' ipvs.list protocol=tcp address=192.168.1.100 port=3306
    """
    wanted = {
        "protocol": _choice("protocol", protocol, PROTOCOLS),
        "address": _address("address", address),
        "port": _number("port", port, 0, 65535),
        "fwmark": _number("fwmark", fwmark, 1, 4294967295),
    }
    wanted = {field: value for field, value in wanted.items() if value is not None}
    try:
        table = ipvs_model.read()
    except NetlinkError as error:
        raise CommandExecutionError(_explained(error)) from error
    found = (one for one in table if all(getattr(one, field) == value for field, value in wanted.items()))
    return {one.name: one.as_dict() for one in sorted(found, key=lambda one: one.name)}


def _explained(error):
    if error.errno == errno.ENOENT:
        return "Cannot read the IPVS table: this kernel has no IPVS loaded; load it with: modprobe ip_vs"
    if error.errno == errno.EPERM:
        return (
            "Cannot read the IPVS table: the kernel refuses (EPERM); this needs CAP_NET_ADMIN outside of any "
            "user namespace, that is, root on the host itself"
        )
    return f"Cannot read the IPVS table: {error.name or 'netlink'}: {error}"


def _choice(name, value, allowed):
    if value is not None and value not in allowed:
        raise SaltInvocationError(f"{name}: is {value!r}; allowed: {', '.join(allowed)}")
    return value


def _address(name, value):
    if value is None:
        return None
    try:
        return ipaddress.ip_address(str(value))
    except ValueError:
        raise SaltInvocationError(f"{name}: is {value!r}; allowed: an IPv4 or IPv6 address") from None


def _number(name, value, low, high):
    if value is None:
        return None
    try:
        number = int(str(value), 10)
    except ValueError:
        number = -1
    if isinstance(value, bool) or not low <= number <= high:
        raise SaltInvocationError(f"{name}: is {value!r}; allowed: {low} to {high}")
    return number
