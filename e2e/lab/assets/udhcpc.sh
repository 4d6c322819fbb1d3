#!/bin/sh
# Called by udhcpc with the lease in the environment.
case $1 in
    deconfig) ifconfig "$interface" 0.0.0.0 ;;
    bound | renew)
        ifconfig "$interface" "$ip" netmask "${subnet:-255.255.255.0}"
        for gateway in $router; do route add default gw "$gateway" dev "$interface"; done
        : >/etc/resolv.conf
        for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
        ;;
esac
