"""Runs on a host: the VRRP adverts that reach it for some seconds, one JSON object a line.

    vrrp_listen.py SECONDS

Each has `at` (seconds), `source`, `destination`, `version`, `router` (the virtual router's id), `priority`, `interval`
(seconds) and `addresses`: RFC 3768 section 5.1 for version 2, RFC 5798 section 5.1 for version 3.
"""

import json
import socket
import struct
import sys
import time

PROTOCOL, GROUP, INTERFACE = 112, "224.0.0.18", "eth0"


def parsed(packet, at):
    """One IPv4 packet as the fields of its advert."""
    advert = packet[(packet[0] & 15) * 4 :]
    version, router, priority, count = advert[0] >> 4, *advert[1:4]
    # Hundredths of a second in twelve bits since version 3, whole seconds in one byte before.
    interval = (struct.unpack("!H", advert[4:6])[0] & 0xFFF) / 100 if version == 3 else float(advert[5])
    return {
        "at": at,
        "source": socket.inet_ntoa(packet[12:16]),
        "destination": socket.inet_ntoa(packet[16:20]),
        "version": version,
        "router": router,
        "priority": priority,
        "interval": interval,
        "addresses": [socket.inet_ntoa(advert[8 + 4 * number : 12 + 4 * number]) for number in range(count)],
    }


def main():
    """Listen, and print."""
    end = time.monotonic() + float(sys.argv[1])
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOL) as listener:
        # By its interface: these hosts have no route that leads to the group.
        membership = struct.pack("=4s4si", socket.inet_aton(GROUP), bytes(4), socket.if_nametoindex(INTERFACE))
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        while (left := end - time.monotonic()) > 0:
            listener.settimeout(left)
            try:
                packet = listener.recv(65535)
            except TimeoutError:
                break
            print(json.dumps(parsed(packet, time.monotonic())), flush=True)


main()
