"""
The kernel's IPVS table as states. Names of services and servers are those of the ``ipvs`` execution module.

Each virtual service has one owner: what keepalived has in its configuration belongs to keepalived, which would not
notice a change and would not undo it. Declare other services here.

``changes`` hold the old and the new value of each field, the same in test mode as in the run that follows. A run that
finds everything as specified sends the kernel nothing but questions.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "ipvs"


def __virtual__():
    return __virtualname__


def service_present(
    name,
    scheduler=None,
    scheduler_flags=None,
    one_packet=None,
    persistence_timeout=None,
    persistence_netmask=None,
    persistence_engine=None,
):
    """
    A virtual service exists and is set as specified. It is edited in place, so connections stay. What is not
    specified is left as it is, and has its default in a new service. Its servers are left alone.

    name
        The service, such as ``tcp 192.168.1.100:3306`` or ``fwmark 5 ipv6``.

    scheduler, scheduler_flags, one_packet, persistence_timeout, persistence_netmask, persistence_engine
        See ``ipvs.add_service``.

    .. code-block:: yaml

        tcp 192.168.1.100:3306:
          ipvs.service_present:
            - scheduler: wrr
            - persistence_timeout: 300
    """
    return _ensured(
        name,
        "ipvs.ensure_service",
        name,
        scheduler=scheduler,
        scheduler_flags=scheduler_flags,
        one_packet=one_packet,
        persistence_timeout=persistence_timeout,
        persistence_netmask=persistence_netmask,
        persistence_engine=persistence_engine,
    )


def service_absent(name, drain=0):
    """
    A virtual service does not exist.

    name
        The service.

    drain
        For how many seconds (0 to 86400) its servers get no new connections before it is removed, at most until the
        last connection has ended.

    .. code-block:: yaml

        tcp 192.168.1.100:3307:
          ipvs.service_absent:
            - drain: 60
    """
    return _ensured(name, "ipvs.ensure_absent", name, drain=drain)


def server_present(
    name,
    service,
    forward=None,
    weight=None,
    upper_threshold=None,
    lower_threshold=None,
    tunnel=None,
    tunnel_port=None,
    tunnel_flags=None,
):
    """
    A virtual service has a real server that is set as specified. What is not specified is left as it is, and has its
    default in a new server.

    name
        The server, such as ``192.168.1.5:3306``; without a port it has its service's.

    service
        The service, which must exist.

    forward, weight, upper_threshold, lower_threshold, tunnel, tunnel_port, tunnel_flags
        See ``ipvs.add_server``. A weight of 0 sends it no new connections.

    .. code-block:: yaml

        mysql1 takes connections:
          ipvs.server_present:
            - name: 192.168.1.5
            - service: tcp 192.168.1.100:3306
            - weight: 3
    """
    return _ensured(
        f"{service} -> {name}",
        "ipvs.ensure_server",
        service,
        name,
        forward=forward,
        weight=weight,
        upper_threshold=upper_threshold,
        lower_threshold=lower_threshold,
        tunnel=tunnel,
        tunnel_port=tunnel_port,
        tunnel_flags=tunnel_flags,
    )


def server_absent(name, service, drain=0):
    """
    A virtual service has no such real server.

    name, service
        Their names.

    drain
        For how many seconds (0 to 86400) it gets no new connections before it is removed, at most until the last one
        has ended.

    .. code-block:: yaml

        mysql1 is out:
          ipvs.server_absent:
            - name: 192.168.1.5
            - service: tcp 192.168.1.100:3306
            - drain: 60
    """
    return _ensured(f"{service} -> {name}", "ipvs.ensure_absent", service, name, drain=drain)


def managed(
    name,
    services=None,
    servers=None,
    scheduler=None,
    scheduler_flags=None,
    one_packet=None,
    persistence_timeout=None,
    persistence_netmask=None,
    persistence_engine=None,
    purge=False,
    scope=None,
    ignore=None,
    drain=0,
):
    """
    The table holds these services with just these servers. What is new is added first, what differs is edited in place,
    what has to go goes last; what is equal is not touched. What a service or server does not specify has its default.

    name
        Without ``services``: the one service that is meant. Else not used.

    services
        Several services: a mapping as ``ipvs.list`` shows it.

    servers, scheduler, scheduler_flags, one_packet, persistence_timeout, persistence_netmask, persistence_engine
        What the one service is set to, and a mapping of its servers; see ``ipvs.add_service`` and ``ipvs.add_server``.

    purge
        true: services that are not specified are removed. While keepalived runs this needs ``ignore``.

    scope
        A list of what may be purged: addresses, networks, ``fwmark 5``, services. Everything if left out.

    ignore
        A list like ``scope`` of what belongs to somebody else, such as keepalived.

    drain
        For how many seconds (0 to 86400) to wait for the connections of servers that go.

    When the kernel refuses something, the comment says what was done, what was not, and why; nothing is removed then.

    .. code-block:: yaml

        the static services:
          ipvs.managed:
            - services:
                tcp 192.168.1.100:80:
                  scheduler: wlc
                  servers:
                    192.168.1.5: {weight: 3}
                    192.168.1.6: {weight: 3}
            - purge: true
            - ignore: [192.168.1.100]

        tcp 192.168.1.100:81:
          ipvs.managed:
            - scheduler: rr
            - servers: {192.168.1.5: {weight: 3}}
            - drain: 60
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The table is as specified."}
    own = {
        "servers": servers,
        "scheduler": scheduler,
        "scheduler_flags": scheduler_flags,
        "one_packet": one_packet,
        "persistence_timeout": persistence_timeout,
        "persistence_netmask": persistence_netmask,
        "persistence_engine": persistence_engine,
    }
    said = [word for word, value in own.items() if value is not None]
    if services is not None and said:
        return dict(ret, result=False, comment=f"{said[0]}: is set beside services; allowed: one of them")
    wanted = {name: own} if services is None else services
    options = {"purge": purge, "scope": scope, "ignore": ignore}
    try:
        if __opts__["test"]:
            ret["changes"] = __salt__["ipvs.diff"](wanted, **options)
            if ret["changes"]:
                ret.update(result=None, comment=f"{_count(ret['changes'])} would be changed.")
            return ret
        done = __salt__["ipvs.apply"](wanted, drain=drain, **options)
    except (CommandExecutionError, SaltInvocationError) as error:
        return dict(ret, result=False, comment=str(error))
    return _done(ret, done)


def static(name, settings):
    """
    The table holds the static services of the pillar (``mysql_ha:ipvs:services``), which keepalived has nothing to do
    with, and holds them again after each boot, without Salt. A service that has left the pillar is removed, with
    ``mysql_ha:ipvs:drain``, unless it is an endpoint's now: then it is keepalived's. Services that somebody else put in
    stay, unless ``mysql_ha:ipvs:purge`` is true. Meant to run when keepalived has taken its configuration.

    name
        The absolute path of the record: which services are ours, for the next run and for the next boot. When the
        pillar has none it goes, and so does the unit ``mysql_ha-ipvs.service``, which restores it.

    settings
        The ``mysql_ha`` pillar with its defaults and without its secrets.

    When the kernel refuses something, the comment says what was done, what was not, and why; nothing is removed then.

    .. code-block:: yaml

        the static services:
          ipvs.static:
            - name: /etc/mysql_ha/ipvs.rules
            - settings: {endpoints: {}, ipvs: {services: {}, purge: false, drain: 0}}
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "The static services are as specified."}
    try:
        if __opts__["test"]:
            ret["changes"] = __salt__["ipvs.diff_static"](name, settings)
            if ret["changes"]:
                ret.update(result=None, comment=f"{_count(ret['changes'])} would be changed.")
            return ret
        done = __salt__["ipvs.apply_static"](name, settings)
    except (CommandExecutionError, SaltInvocationError) as error:
        return dict(ret, result=False, comment=str(error))
    return _done(ret, done)


def timeouts(name, tcp=None, tcp_fin=None, udp=None):
    """
    The kernel remembers idle connections for so long. What is not specified is left as it is.

    name
        Not used.

    tcp, tcp_fin, udp
        1 to 2147483 seconds.

    .. code-block:: yaml

        connections are remembered for a day:
          ipvs.timeouts:
            - tcp: 86400
    """
    return _ensured(name, "ipvs.set_timeouts", tcp=tcp, tcp_fin=tcp_fin, udp=udp)


def sync_daemon(name, interface=None, sync_id=0, max_length=None, group=None, port=None, ttl=None):
    """
    A synchronisation daemon runs in this way, or does not run if no interface is specified.

    name
        ``master`` or ``backup``.

    interface, sync_id, max_length, group, port, ttl
        See ``ipvs.start_daemon``.

    .. code-block:: yaml

        backup:
          ipvs.sync_daemon:
            - interface: eth0
            - sync_id: 51
    """
    return _ensured(
        name,
        "ipvs.ensure_daemon",
        name,
        interface=interface,
        sync_id=sync_id,
        max_length=max_length,
        group=group,
        port=port,
        ttl=ttl,
    )


def _ensured(shown, function, *arguments, **options):
    """The return of a state that one call of the execution module brings about, in test mode as well."""
    name = arguments[-1] if arguments else shown
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{shown} is as specified."}
    try:
        ret["changes"] = __salt__[function](*arguments, test=__opts__["test"], **options)
    except (CommandExecutionError, SaltInvocationError) as error:
        return dict(ret, result=False, comment=str(error))
    if ret["changes"] and __opts__["test"]:
        ret.update(result=None, comment=f"{shown} would be changed.")
    elif ret["changes"]:
        ret["comment"] = f"{shown} has been changed."
    return ret


def _done(ret, done):
    """The return of a state that changed several entries, of which some may have failed."""
    ret["changes"] = done["changes"]
    if done["failed"]:
        failures = "\n".join(f"  {entry}: {reason}" for entry, reason in done["failed"].items())
        ret["result"] = False
        ret["comment"] = f"{_count(done['changes'])} changed; {_count(done['failed'])} not:\n{failures}"
    elif done["changes"]:
        ret["comment"] = f"{_count(done['changes'])} changed."
    return ret


def _count(entries):
    return f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
