"""The lab: the cluster's hosts as real systemd machines on this one machine.

plan.py       which hosts there are, their addresses, where their files lie
prepare.py    what the machine itself needs (packages, root)
layers.py     the images, made once and kept: base system, Salt, package repository, kernel
disk.py       a host's disk: an overlay on top of the layers
identity.py   what makes a copy of the images a particular host
lan.py        the network: one bridge in a namespace of its own, nothing leaves it
cgroup.py     a place of its own for each container in the kernel's control groups
container.py  hosts that share this machine's kernel (databases, master, client)
guest.py      hosts with a kernel of their own (directors: this machine's has no IPVS)
salt.py       keys, the formula's files on the master, state runs and what they said
lab.py        all of it together: up, down, power, cuts
cli.py        the command line
client.py     an application and what it notices (with probe.py, which runs on the client)
cluster.py    who holds the VIP, what stands in a director's table
demo.py       `make demo`
bench.py      `make bench`
command.py, process.py, progress.py   running programs, finding processes, telling what goes on
"""
