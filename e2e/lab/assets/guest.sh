#!/bin/sh
# init of a guest whose hardware is looked at: drivers, network, a shell on the virtio port.

PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=0755 tmpfs /run
while read -r module; do
    insmod "/lib/modules/$module" || echo "LOCKSTEP-MODULE-FAILED $module" >/dev/console
done </etc/modules
ifconfig lo 127.0.0.1 up
# QEMU's own network for guests.
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
printf '\nLOCKSTEP-GUEST-UP\n' >/dev/console
port=$(echo /dev/vport*p1)
# Such a port can be opened once only.
exec sh <>"$port" >&0 2>/dev/console
