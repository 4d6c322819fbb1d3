# Process 1 of a node: private mounts, then reaping.
# Arguments: folder of the node, its name, its address, its system UUID.
#
# Everything here happens in namespaces of the node's own: kubelet and containerd
# believe that they own /var, /run and the kernel's settings, and the machine
# sees nothing of it. All of it is gone with the namespaces.
set -eu
folder=$1 name=$2 address=$3 uuid=$4

# A short path for sockets and volumes, wherever the state folder lies: /srv/node.
mount -t tmpfs -o mode=755 tmpfs /srv
mkdir /srv/node /srv/written /srv/work /srv/sys
mount --bind "$folder" /srv/node
mount -t overlay -o lowerdir=/var,upperdir=/srv/written,workdir=/srv/work overlay /var
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock

printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" > /srv/hosts
mount --bind /srv/hosts /etc/hosts
hostname "$name"

# A machine of its own, by what SMBIOS says: nodes that share a machine are not one, and machines
# of some hypervisors have no SMBIOS.
mkdir -p /srv/class/dmi/id
printf 'Lockstep\n' > /srv/class/dmi/id/sys_vendor
printf 'Lab node\n' > /srv/class/dmi/id/product_name
(
    umask 277
    printf '%s\n' "$uuid" > /srv/class/dmi/id/product_uuid
    printf '%s\n' "$name" > /srv/class/dmi/id/product_serial
)
mount -t overlay -o lowerdir=/srv/class:/sys/class overlay /sys/class
# The tables would tell of the machine that is shared.
if [ -d /sys/firmware/dmi ]; then
    mount -t tmpfs -o ro,mode=755 tmpfs /sys/firmware/dmi
fi

# kubelet insists on these values and would change the machine's.
pretend() {
    printf '%s\n' "$2" > "/srv/sys/$(basename "$1")"
    mount --bind "/srv/sys/$(basename "$1")" "/proc/sys/$1"
}
pretend vm/overcommit_memory 1
pretend vm/panic_on_oom 0
pretend kernel/panic 10
pretend kernel/panic_on_oops 1
pretend kernel/keys/root_maxkeys 1000000
pretend kernel/keys/root_maxbytes 25000000

echo 1 > /proc/sys/net/ipv4/ip_forward
ip link set lo up

# Pods may ask for volumes whose later mounts they see; only shared mounts can give them that.
mount --make-rshared /

: > /srv/node/ready
while :; do
    sleep 3600 &
    wait $!
done
