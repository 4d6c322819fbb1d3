# DHCP of a site that exists in this network namespace only: dnsmasq at one end of a pair of
# interfaces, clients one after the other at the other end.
# Arguments: lease file, file that is made when every client has its lease, the server's address,
# then NAME,MAC,ADDRESS for every client.
set -eu
leases=$1 ready=$2 server=$3
shift 3

ip link add server type veth peer name client
# Loopback addresses on a wire (here `lo` stays down): the BMCs answer at them outside.
echo 1 > /proc/sys/net/ipv4/conf/server/route_localnet
ip addr add "$server/24" dev server
ip link set server up
ip link set client up

hosts=
for client in "$@"; do
    hosts="$hosts --dhcp-host=${client#*,}"
done

(
    for client in "$@"; do
        rest=${client#*,}
        ip link set client address "${rest%,*}"
        # It asks again until dnsmasq listens.
        busybox udhcpc -i client -f -q -n -t 30 -T 1 -s /bin/true -x "hostname:${client%%,*}"
    done
    : > "$ready"
) &

# shellcheck disable=SC2086 # one word for each host
exec dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --group=root --pid-file= \
    --log-facility=- --log-dhcp --port=0 --interface=server --bind-interfaces --no-ping \
    --dhcp-range="${server%.*}.0,static,255.255.255.0,1h" --dhcp-authoritative \
    --dhcp-leasefile="$leases" $hosts
