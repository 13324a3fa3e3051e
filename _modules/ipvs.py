"""
The kernel's IPVS table: virtual services and their real servers, read and changed by speaking netlink to the kernel. No
program is started and no package is needed, so this loads on every Linux minion.

Names are the same everywhere. A service is ``tcp 192.168.1.100:3306``, ``udp [2001:db8::1]:53``, ``sctp
192.0.2.1:99`` or ``fwmark 5 ipv6`` (``ipv4`` if left out); a server is ``192.168.1.5:3306``, or without a port, which
is then its service's. What :py:func:`list` shows can be given to :py:func:`apply` and to the ``ipvs.managed`` state.

Every function raises ``SaltInvocationError`` for what cannot work, naming the argument, its value and what is allowed,
before anything changes; and ``CommandExecutionError`` for what the kernel refuses, with what was asked, the kernel's
error by name and what it means there.

Everything here needs CAP_NET_ADMIN outside of any user namespace, reading included.
"""

import gc
import logging
import sys
from contextlib import contextmanager
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

import ipvs_codec
import ipvs_connections
import ipvs_kernel
import ipvs_model
import ipvs_plan
import ipvs_rules
import ipvs_static_kept
import ipvs_text
from host_programs import ProgramError
from ipvs_plan import ADD, DELETE, EDIT, Change

log = logging.getLogger(__name__)

__virtualname__ = "ipvs"
__func_alias__ = {"list_": "list"}

PROTOCOLS = ("tcp", "udp", "sctp")
MAX_TIMEOUT = 2147483
PROGRESS_TAG = "mysql_ha/ipvs/drain"


def __virtual__():
    if __grains__.get("kernel", "Linux") != "Linux":
        return (False, "The ipvs execution module cannot be loaded: IPVS is a part of the Linux kernel.")
    return __virtualname__


# --- reading ---


def list_(protocol=None, address=None, port=None, fwmark=None):
    """
    The virtual services in this kernel's table with their real servers, by name. Only what is set is shown. Every
    argument narrows the list; together they all hold.

    protocol
        ``tcp``, ``udp`` or ``sctp``.

    address
        An IPv4 or IPv6 address, in any spelling.

    port
        0 to 65535.

    fwmark
        1 to 4294967295.

    Raises ``SaltInvocationError`` for an argument that names nothing, ``CommandExecutionError`` when the table cannot
    be read.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' ipvs.list
        salt 'lvs*' ipvs.list protocol=tcp address=192.168.1.100 port=3306
    """
    with _told():
        fits = _filter(protocol, address, port, fwmark)
        with ipvs_kernel.Ipvs() as ipvs:
            table, connections = ipvs.table_and_connections()
    return ipvs_model.table_as_dict({key: entry for key, entry in table.items() if fits(key)}, connections)


def get_service(service):
    """
    One virtual service with its servers, as :py:func:`list` shows it; None if there is none.

    service
        Its name, such as ``tcp 192.168.1.100:3306``.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' ipvs.get_service 'tcp 192.168.1.100:3306'
    """
    with _told():
        key = ipvs_rules.service_key(service)
        with ipvs_kernel.Ipvs() as ipvs:
            entry = ipvs.service(key)
            return None if entry is None else ipvs_model.entry_as_dict(key, entry, _connections(ipvs, key))


def get_server(service, server):
    """
    One real server, as :py:func:`list` shows it; None if there is none, or no such service.

    service, server
        Their names, such as ``tcp 192.168.1.100:3306`` and ``192.168.1.5``.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' ipvs.get_server 'tcp 192.168.1.100:3306' 192.168.1.5
    """
    with _told():
        own = ipvs_rules.server_key(server, ipvs_rules.service_key(service))
    found = get_service(service)
    return None if found is None else found["servers"].get(own.name)


def stats(protocol=None, address=None, port=None, fwmark=None):
    """
    What passed through each service and server since its counters were last zeroed: ``connections``, ``packets_in``,
    ``packets_out``, ``bytes_in``, ``bytes_out``, all in 64 bits; the kernel adds them up every two seconds. With direct
    routing and tunnels the answers do not pass a director, so what goes out is 0.

    protocol, address, port, fwmark
        Narrow the list, see :py:func:`list`.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' ipvs.stats
        salt 'lvs*' ipvs.stats port=3306
    """
    return _statistics(False, protocol, address, port, fwmark)


def rates(protocol=None, address=None, port=None, fwmark=None):
    """
    What passes through each service and server right now, as the kernel estimates it every two seconds:
    ``connections_per_second``, ``packets_in_per_second`` and so on. All 0 while the sysctl
    ``net.ipv4.vs.run_estimation`` is 0.

    protocol, address, port, fwmark
        Narrow the list, see :py:func:`list`.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' ipvs.rates
    """
    return _statistics(True, protocol, address, port, fwmark)


def connections(protocol=None, address=None, port=None, client=None, server=None):
    """
    The connections that this kernel balances: ``protocol``, ``client``, ``virtual``, ``server``, ``state`` and
    ``expires`` (seconds).

    protocol, address, port
        Narrow the list by the virtual service, see :py:func:`list`.

    client, server
        Narrow it to those from a client's, or to a server's, address.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' ipvs.connections port=3306
        salt 'lvs*' ipvs.connections server=192.168.1.5
    """
    with _told():
        wanted_protocol = _one_of("protocol", protocol, PROTOCOLS)
        wanted_address, wanted_port = _address("address", address), _port(port)
        wanted_client, wanted_server = _address("client", client), _address("server", server)
    try:
        found = ipvs_connections.read()
    except OSError as error:
        raise CommandExecutionError(
            f"Cannot read the connections: this kernel has no IPVS loaded; load it with: modprobe ip_vs ({error})"
        ) from error
    return [
        one.as_dict()
        for one in found
        if wanted_protocol in (None, one.protocol)
        and wanted_address in (None, one.virtual[0])
        and wanted_port in (None, one.virtual[1])
        and wanted_client in (None, one.client[0])
        and wanted_server in (None, one.server[0])
    ]


def info():
    """
    The ``version`` of the kernel's IPVS and how many rows its table of connections has (``connection_table_size``).

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' ipvs.info
    """
    with _kernel() as ipvs:
        version, size = ipvs.info()
    return {"version": version, "connection_table_size": size}


# --- services ---


def add_service(
    service,
    scheduler="wlc",
    scheduler_flags=None,
    one_packet=None,
    persistence_timeout=None,
    persistence_netmask=None,
    persistence_engine=None,
):
    """
    Add a virtual service; returns what it was set to, as ``{field: {old, new}}``.

    service
        Its name. Port 0 stands for every port, and needs a persistence_timeout.

    scheduler
        How connections are shared out: rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh, twos, or another
        one that this kernel has; ``none`` for a service without one.

    scheduler_flags
        A list: ``sh-fallback``, ``sh-port`` (with sh), ``mh-fallback``, ``mh-port`` (with mh), or ``flag-1`` to
        ``flag-3``.

    one_packet
        true: each packet is a connection of its own; only for udp and fwmark.

    persistence_timeout
        Later connections of one client go to the same server until it was silent for so many seconds: 1 to 2678400,
        or 0 for none.

    persistence_netmask
        Clients that are one to persistence: for IPv4 a mask such as 255.255.255.0 or a prefix length from 1 to 32, for
        IPv6 a prefix length from 1 to 128.

    persistence_engine
        ``sip``, or another one that this kernel has.

    Raises ``SaltInvocationError`` for what cannot work, ``CommandExecutionError`` for what the kernel refuses.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.add_service 'tcp 192.168.1.100:3306' scheduler=wrr
        salt lvs1 ipvs.add_service 'udp 192.168.1.100:53' scheduler=rr one_packet=true
        salt lvs1 ipvs.add_service 'fwmark 5 ipv6' persistence_timeout=300 persistence_netmask=64
    """
    words = _service_words(
        scheduler, scheduler_flags, one_packet, persistence_timeout, persistence_netmask, persistence_engine
    )
    with _kernel() as ipvs:
        key = ipvs_rules.service_key(service)
        return _make(ipvs, Change(ADD, key, None, None, ipvs_rules.service(key, words, key.name)))


def edit_service(
    service,
    scheduler=None,
    scheduler_flags=None,
    one_packet=None,
    persistence_timeout=None,
    persistence_netmask=None,
    persistence_engine=None,
):
    """
    Edit a virtual service in place: connections stay, and what is not named stays as it is. Returns what changed, as
    ``{field: {old, new}}``; nothing is sent to the kernel if nothing does.

    service
        Its name.

    scheduler, scheduler_flags, one_packet, persistence_timeout, persistence_netmask, persistence_engine
        See :py:func:`add_service`. A persistence_timeout of 0, an empty list of flags and an empty engine take them
        away.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.edit_service 'tcp 192.168.1.100:3306' scheduler=wlc
    """
    words = _service_words(
        scheduler, scheduler_flags, one_packet, persistence_timeout, persistence_netmask, persistence_engine
    )
    with _kernel() as ipvs:
        key, old = _present(ipvs, service)
        return _make(ipvs, Change(EDIT, key, None, old.service, ipvs_rules.service(key, words, key.name, old.service)))


def delete_service(service):
    """
    Remove a virtual service with its servers. Its connections end: see :py:func:`drain`. Returns what it was.

    service
        Its name.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.delete_service 'tcp 192.168.1.100:3306'
    """
    with _kernel() as ipvs:
        key, old = _present(ipvs, service)
        return _make(ipvs, Change(DELETE, key, None, old.service, None))


def ensure_service(
    service,
    scheduler=None,
    scheduler_flags=None,
    one_packet=None,
    persistence_timeout=None,
    persistence_netmask=None,
    persistence_engine=None,
    test=False,
):
    """
    Add a virtual service, or edit it, whichever it takes; what is not named stays, or has its default in a new one.
    Returns what changed, as ``{field: {old, new}}``.

    service, scheduler, scheduler_flags, one_packet, persistence_timeout, persistence_netmask, persistence_engine
        See :py:func:`add_service`.

    test
        true: change nothing, only return what would change. Works where the kernel has no IPVS loaded yet.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.ensure_service 'tcp 192.168.1.100:3306' scheduler=wrr test=true
    """
    words = _service_words(
        scheduler, scheduler_flags, one_packet, persistence_timeout, persistence_netmask, persistence_engine
    )

    def decide(present):
        entry = present.get(key)
        old = entry.service if entry else None
        return Change(EDIT if entry else ADD, key, None, old, ipvs_rules.service(key, words, key.name, old))

    with _told():
        key = ipvs_rules.service_key(service)
        ipvs_rules.service(key, words, key.name)
        return _ensure(decide, key, test)


# --- servers ---


def add_server(
    service,
    server,
    forward="dr",
    weight=1,
    upper_threshold=None,
    lower_threshold=None,
    tunnel=None,
    tunnel_port=None,
    tunnel_flags=None,
):
    """
    Add a real server to a virtual service; returns what it was set to, as ``{field: {old, new}}``.

    service, server
        Their names. With ``dr`` and ``tunnel`` a server has the port of its service.

    forward
        How packets reach it: ``dr`` (direct routing), ``nat`` or ``tunnel``. Only ``tunnel`` reaches a server of
        another address family than its service.

    weight
        Its share of new connections, 0 to 2147483647; 0 sends it none.

    upper_threshold, lower_threshold
        Above so many connections it gets no more, until they are fewer than the lower one: 0 to 2147483647, 0 for none.

    tunnel
        ``ipip``, ``gue`` or ``gre``.

    tunnel_port
        1 to 65535, for gue only, which needs it.

    tunnel_flags
        A list: ``csum`` (gue, gre), ``remcsum`` (gue).

    Raises ``SaltInvocationError`` for what cannot work, ``CommandExecutionError`` for what the kernel refuses.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.add_server 'tcp 192.168.1.100:3306' 192.168.1.5 weight=3
        salt lvs1 ipvs.add_server 'tcp 192.168.1.100:80' 192.168.1.5:8080 forward=nat
        salt lvs1 ipvs.add_server 'fwmark 5' 192.0.2.6 forward=tunnel tunnel=gue tunnel_port=6080 tunnel_flags=csum
    """
    words = _server_words(forward, weight, upper_threshold, lower_threshold, tunnel, tunnel_port, tunnel_flags)
    with _kernel() as ipvs:
        key = ipvs_rules.service_key(service)
        own = ipvs_rules.server_key(server, key)
        return _make(ipvs, Change(ADD, key, own, None, ipvs_rules.server(key, own, words, own.name)))


def edit_server(
    service,
    server,
    forward=None,
    weight=None,
    upper_threshold=None,
    lower_threshold=None,
    tunnel=None,
    tunnel_port=None,
    tunnel_flags=None,
):
    """
    Edit a real server in place: its connections stay, and what is not named stays as it is. Returns what changed, as
    ``{field: {old, new}}``; nothing is sent to the kernel if nothing does.

    service, server, forward, weight, upper_threshold, lower_threshold, tunnel, tunnel_port, tunnel_flags
        See :py:func:`add_server`.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.edit_server 'tcp 192.168.1.100:3306' 192.168.1.5 weight=0
    """
    words = _server_words(forward, weight, upper_threshold, lower_threshold, tunnel, tunnel_port, tunnel_flags)
    with _kernel() as ipvs:
        key, own, old = _present_server(ipvs, service, server)
        return _make(ipvs, Change(EDIT, key, own, old, ipvs_rules.server(key, own, words, own.name, old)))


def delete_server(service, server):
    """
    Remove a real server at once. Its connections end: see :py:func:`drain`. Returns what it was.

    service, server
        Their names.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.delete_server 'tcp 192.168.1.100:3306' 192.168.1.5
    """
    with _kernel() as ipvs:
        key, own, old = _present_server(ipvs, service, server)
        return _make(ipvs, Change(DELETE, key, own, old, None))


def ensure_server(
    service,
    server,
    forward=None,
    weight=None,
    upper_threshold=None,
    lower_threshold=None,
    tunnel=None,
    tunnel_port=None,
    tunnel_flags=None,
    test=False,
):
    """
    Add a real server, or edit it, whichever it takes; what is not named stays, or has its default in a new one.
    Returns what changed, as ``{field: {old, new}}``.

    service, server, forward, weight, upper_threshold, lower_threshold, tunnel, tunnel_port, tunnel_flags
        See :py:func:`add_server`.

    test
        true: change nothing, only return what would change. Works where the service does not exist yet.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.ensure_server 'tcp 192.168.1.100:3306' 192.168.1.5 weight=3 test=true
    """
    words = _server_words(forward, weight, upper_threshold, lower_threshold, tunnel, tunnel_port, tunnel_flags)

    def decide(present):
        entry = present.get(key)
        if entry is None and not test:
            raise ipvs_kernel.IpvsError(f"add the server {own.name}: there is no service {key.name}")
        old = entry.servers.get(own) if entry else None
        return Change(ADD if old is None else EDIT, key, own, old, ipvs_rules.server(key, own, words, own.name, old))

    with _told():
        key = ipvs_rules.service_key(service)
        own = ipvs_rules.server_key(server, key)
        ipvs_rules.server(key, own, words, own.name)
        return _ensure(decide, key, test)


def ensure_absent(service, server=None, drain=0, test=False):  # pylint: disable=redefined-outer-name
    """
    Remove a virtual service, or one of its servers, if it is there. Returns what it was, as ``{field: {old, new}}``.

    service, server
        Their names; without a server the whole service goes.

    drain
        For how many seconds (0 to 86400) to wait for the end of the connections, without new ones.

    test
        true: change nothing, only return what would change.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.ensure_absent 'tcp 192.168.1.100:3306' 192.168.1.5 drain=60
    """

    def decide(present):
        entry = present.get(key)
        if entry is None or (own is not None and own not in entry.servers):
            return None
        return Change(DELETE, key, own, entry.service if own is None else entry.servers[own], None)

    with _told():
        key = ipvs_rules.service_key(service)
        own = None if server is None else ipvs_rules.server_key(server, key)
        return _ensure(decide, key, test, ipvs_rules.number("drain", drain, 0, 86400, " of seconds"))


def drain(service, server, timeout=300, delete=True):
    """
    Take a real server out gently: it gets no new connections (weight 0), those that it has may end, then it is removed.

    How it goes is told in the minion's log and on the event bus (``mysql_ha/ipvs/drain``). With direct routing the
    kernel notices the end of a connection late, by its own ``tcp_fin`` timeout. A persistent service goes on sending
    the clients that it remembers, unless the sysctl ``net.ipv4.vs.expire_quiescent_template`` is 1.

    service, server
        Their names.

    timeout
        For how many seconds (0 to 86400) to wait at most; then the connections that are left are cut off.

    delete
        false: leave the server in the table, with weight 0.

    Returns the ``changes``, how many connections were ``left`` and whether it was ``deleted``.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.drain 'tcp 192.168.1.100:3306' 192.168.1.5 timeout=60
    """
    with _kernel() as ipvs:
        key = ipvs_rules.service_key(service)
        own = ipvs_rules.server_key(server, key)
        seconds = ipvs_rules.number("timeout", timeout, 0, 86400, " of seconds")
        ipvs_rules.boolean("delete", delete)
        _, _, old = _present_server(ipvs, service, server)
        left = ipvs_kernel.drain(ipvs, key, own, seconds, _progress_of(f"{key.name} -> {own.name}"))
        if delete:
            changes = _make(ipvs, Change(DELETE, key, own, old, None))
        else:
            changes = Change(EDIT, key, own, old, old._replace(weight=0)).fields()
    return {"changes": changes, "left": left.total, "deleted": delete}


# --- the whole table ---


def diff(services, purge=False, scope=None, ignore=None):
    """
    What :py:func:`apply` would change, as ``{service or server: {field: {old, new}}}``. Changes nothing, and takes an
    empty table where the kernel has no IPVS loaded yet.

    services, purge, scope, ignore
        See :py:func:`apply`.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.diff '{"tcp 192.168.1.100:3306": {"servers": {"192.168.1.5": {"weight": 3}}}}'
    """
    with _told():
        decide = _decision(services, purge, scope, ignore)
        return ipvs_plan.as_dict(decide(_table_if_any()))


def apply(services, purge=False, scope=None, ignore=None, drain=0):  # pylint: disable=redefined-outer-name
    """
    Make the table hold these services, with just these servers: what is new is added first, what differs is edited in
    place, what has to go goes last, and what is equal is not touched. If somebody else changes the table meanwhile, it
    is read and decided once more.

    services
        A mapping as :py:func:`list` shows it. What is left out has its default (see :py:func:`add_service` and
        :py:func:`add_server`).

    purge
        true: remove other services too. While keepalived runs this needs ``ignore``.

    scope
        A list of what ``purge`` may remove: addresses, networks (``192.168.1.0/24``), ``fwmark 5``, names of services.
        Everything if left out.

    ignore
        A list like ``scope`` of what belongs to somebody else, such as keepalived: it stays whatever happens, and must
        not be among ``services``.

    drain
        For how many seconds (0 to 86400) to wait for the connections of servers that go.

    Returns the ``changes`` that were made, as :py:func:`diff` shows them, and what ``failed``, by name, with the
    kernel's error and what it means; then the exit status is 1. While anything failed to be added or edited, nothing
    is removed.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.apply '{"tcp 192.168.1.100:3306": {"servers": {"192.168.1.5": {"weight": 3}}}}'
        salt lvs1 ipvs.apply '{}' purge=true scope='["192.168.1.0/24"]' ignore='["192.168.1.100"]'
    """
    with _told():
        decide = _decision(services, purge, scope, ignore)
        seconds = ipvs_rules.number("drain", drain, 0, 86400, " of seconds")
        with ipvs_kernel.Ipvs() as ipvs:
            outcome = ipvs_kernel.apply(ipvs, decide, seconds, _progress_of("the servers that go"))
    return _report(outcome)


def save():
    """
    The table as text, as ``ipvsadm --save --numeric`` writes it, with the thresholds that ipvsadm leaves out.
    :py:func:`restore` and ``ipvsadm --restore`` read it.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.save
    """
    with _kernel() as ipvs:
        table = ipvs.table()
    return ipvs_text.save(dict(sorted(table.items(), key=lambda item: item[0].name)))


def restore(text=None, path=None, purge=True, ignore=None):
    """
    Make the table what a saved text says. Unlike ``ipvsadm-restore`` it changes only what differs, so there is no
    moment without a table, and it changes nothing at all if any line cannot work.

    text
        The text, as :py:func:`save` or ``ipvsadm --save --numeric`` wrote it.

    path
        Or an absolute path of a file on the minion that holds it.

    purge
        false: leave services that the text does not have.

    ignore
        A list of what belongs to somebody else, see :py:func:`apply`; it is left alone whatever the text says.

    Returns what :py:func:`apply` does.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.restore path=/var/lib/ipvs.saved ignore='["192.168.1.100"]'
    """
    with _told():
        if (text is None) == (path is None):
            raise ipvs_rules.Wrong("restore: has both a text and a path, or neither; allowed: one of them")
        if path is not None:
            try:
                text = Path(path).read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise ipvs_rules.Wrong(f"path: is {path!r}, which cannot be read: {error}") from error
        ignored = ipvs_plan.scope_of(ignore, "ignore", ipvs_plan.Nothing)
        wanted = {key: entry for key, entry in ipvs_text.parse(text).items() if key not in ignored}
        decide = _decision_for(wanted, purge, None, ignore)
        with ipvs_kernel.Ipvs() as ipvs:
            return _report(ipvs_kernel.apply(ipvs, decide))


def flush():
    """
    Remove every service, keepalived's too. All connections end. Returns how many services there were.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.flush
    """
    with _kernel() as ipvs:
        count = len(ipvs.table())
        ipvs.flush()
    return count


def zero(service=None):
    """
    Set the counters of a service and its servers to zero, or of all.

    service
        Its name.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.zero
        salt lvs1 ipvs.zero 'tcp 192.168.1.100:3306'
    """
    with _kernel() as ipvs:
        ipvs.zero(None if service is None else ipvs_rules.service_key(service))
    return True


# --- static services ---


def diff_static(name, settings):
    """
    What :py:func:`apply_static` would change, as ``{what: {field: {old, new}}}``: once keepalived has what the settings
    say, and with an empty table where the kernel has no IPVS loaded yet. Changes nothing.

    name, settings
        See :py:func:`apply_static`.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.diff_static /root/ipvs.rules '{"endpoints": {}, "ipvs": {"services": {}}}'
    """
    with _told():
        kept = _kept(name, settings)
        decided = []
        if kept.concerns_the_table:
            leaving = set(__salt__["keepalived.leaving"](settings))
            decided = kept.decide({key: entry for key, entry in _table_if_any().items() if key.name not in leaving})
        return {**ipvs_plan.as_dict(decided), **kept.changes_of_files(kept.asked.wanted)}


def apply_static(name, settings):
    """
    Make the table hold the static services of the settings, now and after each boot. What they have had and have no
    more is removed, unless it is one of their endpoints now, which is keepalived's. Services that somebody else put in
    are left alone, unless ``purge`` is true.

    name
        The absolute path of the record: the file that says what is ours, and what a unit of systemd brings back at
        boot. When nothing is left, file and unit go.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets: ``ipvs`` with its ``services``, ``purge`` and
        ``drain``, and the ``endpoints`` and what belongs to them.

    Returns the ``changes`` that were made, and what ``failed``, by name, with the reason; then the exit status is 1,
    and the record keeps what is still to go.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.apply_static /root/ipvs.rules '{"endpoints": {}, "ipvs": {"services": {}}}'
    """
    with _told():
        kept = _kept(name, settings)
        # In this order nothing is lost by an interruption: see ipvs_static.claimed.
        try:
            kept.claim()
        except (OSError, ProgramError) as error:
            raise CommandExecutionError(f"{error}; nothing in the table was changed") from error
        done = {"changes": {}, "failed": {}}
        if kept.concerns_the_table:
            with ipvs_kernel.Ipvs() as ipvs:
                done = _report(ipvs_kernel.apply(ipvs, kept.decide, kept.drain, _progress_of("the servers that go")))
        left = kept.claimed if done["failed"] else kept.asked.wanted
        try:
            kept.settle(left)
        except (OSError, ProgramError) as error:
            left = kept.claimed
            done["failed"][name] = f"{error}; it keeps what has gone, until the next run"
            __context__["retcode"] = 1
    done["changes"].update(kept.changes_of_files(left))
    return done


def _kept(name, settings):
    try:
        return ipvs_static_kept.Kept(name, settings, sys.executable)
    except OSError as error:
        raise CommandExecutionError(
            f"The record of the static services, or its unit, cannot be read: {error}"
        ) from error


# --- timeouts and synchronisation ---


def timeouts():
    """
    For how many seconds the kernel remembers an idle connection: ``tcp``, ``tcp_fin`` (after its end), ``udp``.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' ipvs.timeouts
    """
    with _kernel() as ipvs:
        return dict(ipvs.timeouts()._asdict())


def set_timeouts(tcp=None, tcp_fin=None, udp=None, test=False):
    """
    Set these timeouts; those that are not named stay. Returns what changed, as ``{field: {old, new}}``.

    tcp, tcp_fin, udp
        1 to 2147483 seconds.

    test
        true: change nothing, only return what would change.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' ipvs.set_timeouts tcp=900 tcp_fin=30
    """
    wanted = {"tcp": tcp, "tcp_fin": tcp_fin, "udp": udp}
    with _told():
        named = {name: ipvs_rules.number(name, value, 1, MAX_TIMEOUT, " of seconds")
                 for name, value in wanted.items() if value is not None}  # fmt: skip
        with _kernel_or_none(test) as ipvs:
            old = ipvs.timeouts()._asdict() if ipvs else {}
            changes = {name: {"old": old.get(name), "new": value}
                       for name, value in named.items() if old.get(name) != value}  # fmt: skip
            if changes and not test:
                ipvs.set_timeouts(ipvs_model.Timeouts(*(named.get(name, 0) for name in wanted)))
    return changes


def daemons():
    """
    The synchronisation daemons that run, by state (``master``, ``backup``): they tell another director of connections.

    CLI Example:

    .. code-block:: bash

        salt 'lvs*' ipvs.daemons
    """
    with _kernel() as ipvs:
        return {state: daemon.as_dict() for state, daemon in sorted(ipvs.daemons().items())}


def start_daemon(state, interface, sync_id=0, max_length=None, group=None, port=None, ttl=None):
    """
    Start a synchronisation daemon; returns how it runs.

    state
        ``master`` (tells others of connections) or ``backup`` (hears of them). Both can run at once.

    interface
        The network interface to the other director.

    sync_id
        0 to 255. A backup hears only masters with the same number.

    max_length
        The longest message in bytes, 1 to 65507; by default what fits the interface.

    group, port, ttl
        The multicast group (224.0.0.81), port (1 to 65535; 8848) and hops (1 to 255; 1).

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.start_daemon master eth0 sync_id=51
    """
    with _kernel() as ipvs:
        daemon = _daemon(state, interface, sync_id, max_length, group, port, ttl)
        ipvs.start_daemon(daemon)
        return ipvs.daemons()[daemon.state].as_dict()


def stop_daemon(state):
    """
    Stop a synchronisation daemon; returns how it ran.

    state
        ``master`` or ``backup``.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.stop_daemon master
    """
    with _kernel() as ipvs:
        _one_of("state", state, tuple(ipvs_codec.STATES))
        running = ipvs.daemons().get(state)
        ipvs.stop_daemon(state)
    return running.as_dict() if running else None


def ensure_daemon(state, interface=None, sync_id=0, max_length=None, group=None, port=None, ttl=None, test=False):
    """
    Have a synchronisation daemon run in just this way, or not at all without an interface. One that runs otherwise is
    stopped and started again. Returns what changed, as ``{field: {old, new}}``.

    state, interface, sync_id, max_length, group, port, ttl
        See :py:func:`start_daemon`. What is not named may be anything.

    test
        true: change nothing, only return what would change.

    CLI Example:

    .. code-block:: bash

        salt lvs1 ipvs.ensure_daemon master eth0 sync_id=51 test=true
        salt lvs1 ipvs.ensure_daemon backup
    """
    with _told():
        _one_of("state", state, tuple(ipvs_codec.STATES))
        daemon = None if interface is None else _daemon(state, interface, sync_id, max_length, group, port, ttl)
        with _kernel_or_none(test) as ipvs:
            running = ipvs.daemons().get(state) if ipvs else None
            old = running.as_dict() if running else {}
            new = {} if daemon is None else _named_in(daemon)
            fields = list(new) if daemon else list(old)
            changes = {field: {"old": old.get(field), "new": new.get(field)}
                       for field in fields if old.get(field) != new.get(field)}  # fmt: skip
            if changes and not test:
                if running:
                    ipvs.stop_daemon(state)
                if daemon:
                    ipvs.start_daemon(daemon)
    return changes


# --- helpers ---


@contextmanager
def _told():
    """Raise as Salt does what the parts below say in their own way."""
    try:
        with _uncollected():
            yield
    except ipvs_rules.Wrong as error:
        raise SaltInvocationError(str(error)) from error
    except (ipvs_kernel.IpvsError, ipvs_kernel.NetlinkError) as error:
        raise CommandExecutionError(str(error)) from error


@contextmanager
def _uncollected():
    """
    Without Python's search for objects that refer to each other in a circle: a table has none, and searching its many
    objects again and again took a third of the time with Python 3.11 (10,000 services; none with 3.13).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _kernel():
    with _told(), ipvs_kernel.Ipvs() as ipvs:
        yield ipvs


@contextmanager
def _kernel_or_none(test):
    """The kernel; None in test mode where IPVS is not loaded yet."""
    try:
        ipvs = ipvs_kernel.Ipvs().__enter__()
    except ipvs_kernel.IpvsError as error:
        if not (test and error.is_not_loaded):
            raise
        yield None
        return
    try:
        yield ipvs
    finally:
        ipvs.__exit__()


def _table_if_any():
    with _kernel_or_none(True) as ipvs:
        return ipvs.table() if ipvs else {}


def _filter(protocol, address, port, fwmark):
    wanted_protocol = _one_of("protocol", protocol, PROTOCOLS)
    wanted_address, wanted_port = _address("address", address), _port(port)
    wanted_mark = None if fwmark is None else ipvs_rules.number("fwmark", fwmark, 1, ipvs_rules.MAX_FWMARK)

    def fits(key):
        return (
            wanted_protocol in (None, key.protocol_name)
            and wanted_address in (None, key.address)
            and (wanted_port is None or (not key.fwmark and key.port == wanted_port))
            and wanted_mark in (None, key.fwmark)
        )

    return fits


def _one_of(name, value, allowed):
    if value is not None and value not in allowed:
        raise SaltInvocationError(f"{name}: is {value!r}; allowed: {', '.join(allowed)}")
    return value


def _address(name, value):
    if value is None:
        return None
    packed = ipvs_rules.packed(str(value))
    if packed is None:
        raise SaltInvocationError(f"{name}: is {value!r}; allowed: an IPv4 or IPv6 address")
    return packed


def _port(value):
    return None if value is None else ipvs_rules.number("port", value, 0, 65535)


def _service_words(*values):
    return dict(zip(ipvs_rules.SERVICE_WORDS, values, strict=True))


def _server_words(*values):
    return dict(zip(ipvs_rules.SERVER_WORDS, values, strict=True))


def _connections(ipvs, key):
    return {(key, server): now for server, now in ipvs.connections(key).items()}


def _present(ipvs, service):
    key = ipvs_rules.service_key(service)
    entry = ipvs.service(key)
    if entry is None:
        raise ipvs_kernel.IpvsError(f"There is no service {key.name}")
    return key, entry


def _present_server(ipvs, service, server):
    key, entry = _present(ipvs, service)
    own = ipvs_rules.server_key(server, key)
    if own not in entry.servers:
        raise ipvs_kernel.IpvsError(f"{key.name} has no server {own.name}; it has: {_names(entry.servers)}")
    return key, own, entry.servers[own]


def _names(keys):
    return ", ".join(sorted(key.name for key in keys)) or "none"


def _make(ipvs, change):
    """One change; what it changed."""
    if change.old == change.new:
        return {}
    refused = ipvs.make([change]).refused
    if refused:
        raise ipvs_kernel.IpvsError(refused[0].sentence, refused[0].errno)
    return change.fields()


def _ensure(decide, key, test, seconds=0):
    """Decide by what is there and do it, once more if somebody else was faster; what changes. Or only say so."""

    def decide_all(present):
        change = decide(present)
        planned[:] = [change] if change is not None and change.old != change.new else []
        return planned

    planned = []
    with _kernel_or_none(test) as ipvs:
        if test:
            entry = ipvs.service(key) if ipvs else None
            decide_all({key: entry} if entry else {})
        else:
            outcome = ipvs_kernel.apply(ipvs, decide_all, seconds, _progress_of(key.name), [key])
            if outcome.refused:
                raise ipvs_kernel.IpvsError(outcome.refused[0].sentence, outcome.refused[0].errno)
            return outcome.done[0].fields() if outcome.done else {}
    return planned[0].fields() if planned else {}


def _decision(services, purge, scope, ignore):
    return _decision_for(ipvs_rules.table(services), purge, scope, ignore)


def _decision_for(wanted, purge, scope, ignore):
    """What says, for a table that is there, what has to change in it. Everything is checked before anything changes."""
    ipvs_rules.boolean("purge", purge)
    speaks_for = ipvs_plan.scope_of(scope, "scope")
    ignored = ipvs_plan.scope_of(ignore, "ignore", ipvs_plan.Nothing)
    both = ipvs_plan.overlap(wanted, ignored)
    if both:
        raise ipvs_rules.Wrong(
            f"ignore: covers what services holds as well: {', '.join(both)}; allowed: one owner each"
        )
    outside = sorted(key.name for key in wanted if key not in speaks_for)
    if outside:
        raise ipvs_rules.Wrong(f"scope: does not cover what services holds: {', '.join(outside)}; allowed: all of them")
    if purge and ignore is None and _keepalived_runs():
        raise ipvs_rules.Wrong(
            "purge: is true while keepalived runs on this host, and would remove its services; allowed: an ignore list "
            "of what is keepalived's (an empty one if nothing is)"
        )
    return lambda present: ipvs_plan.changes(wanted, present, purge, speaks_for, ignored)


def _keepalived_runs():
    """Whether there is a keepalived in this network namespace; one elsewhere has a table of its own."""
    own = Path("/proc/self/ns/net").stat().st_ino
    for place in Path("/proc").glob("[0-9]*"):
        try:
            name = (place / "comm").read_text(encoding="utf-8", errors="replace")
            if name.startswith("keepalived") and (place / "ns/net").stat().st_ino == own:
                return True
        except OSError:
            continue
    return False


def _report(outcome):
    failed = {refusal.change.name: refusal.reason for refusal in outcome.refused}
    if failed:
        __context__["retcode"] = 1
    return {"changes": ipvs_plan.as_dict(outcome.done), "failed": failed}


def _statistics(rates_only, protocol, address, port, fwmark):
    def chosen(counters):
        return {name: value for name, value in counters.items() if (name in ipvs_codec.RATES) == rates_only}

    with _told():
        fits = _filter(protocol, address, port, fwmark)
        with ipvs_kernel.Ipvs() as ipvs:
            found = ipvs.statistics()
    return {
        key.name: {**chosen(own), "servers": {server.name: chosen(value) for server, value in servers.items()}}
        for key, (own, servers) in sorted(found.items(), key=lambda item: item[0].name)
        if fits(key)
    }


def _progress_of(what):
    """Where the progress of a drain goes: the log, and the event bus where there is one."""

    def progress(text):
        log.info("draining %s: %s", what, text)
        # Without a master an event has nobody to hear it, and takes seconds to find that out.
        if __opts__.get("file_client", "remote") == "remote" and "event.send" in __salt__:
            __salt__["event.send"](PROGRESS_TAG, {"draining": what, "progress": text})

    return progress


def _daemon(state, interface, sync_id, max_length, group, port, ttl):
    _one_of("state", state, tuple(ipvs_codec.STATES))
    if not isinstance(interface, str) or not 0 < len(interface) <= 15 or not interface.isascii():
        raise ipvs_rules.refuse("interface", interface, "the name of a network interface")
    numbers = {"sync_id": (sync_id, 0, 255), "max_length": (max_length, 1, 65507), "port": (port, 1, 65535),
               "ttl": (ttl, 1, 255)}  # fmt: skip
    checked = {
        name: 0 if value is None else ipvs_rules.number(name, value, low, high)
        for name, (value, low, high) in numbers.items()
    }
    packed = b"" if group is None else _address("group", group)
    if packed and not (packed[0] == 0xFF if len(packed) == 16 else 224 <= packed[0] <= 239):
        raise ipvs_rules.refuse("group", group, "a multicast address")
    return ipvs_model.Daemon(
        state, interface, checked["sync_id"], checked["max_length"], packed, checked["port"], checked["ttl"]
    )


def _named_in(daemon):
    """What an operator said of a daemon; the rest is the kernel's to choose."""
    said = {"interface": daemon.interface, "sync_id": daemon.sync_id}
    optional = {"max_length": daemon.max_length, "port": daemon.port, "ttl": daemon.ttl}
    said.update({name: value for name, value in optional.items() if value})
    if daemon.group:
        said["group"] = ipvs_model.address_words(daemon.group)
    return said
