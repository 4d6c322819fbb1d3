# Sourced first by every init of the lab's images: file systems, drivers, network, words on the console.
# The caller's /etc/lockstep/modules lists the drivers in load order.

PATH=/bin
export PATH

say() {
    # One write per line, so that the kernel's own messages cannot split it.
    printf '\n%s\n' "$*" >/dev/console
}

mount_early() {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    mount -t tmpfs -o mode=0755 tmpfs /run
    mkdir -p /run/lockstep /tmp
}

load_modules() {
    while read -r module; do
        insmod "/lib/modules/$module" || say "LOCKSTEP-MODULE-FAILED $module"
    done </etc/lockstep/modules
}

network_up() {
    ifconfig lo 127.0.0.1 up
    ifconfig eth0 up || return 1
    udhcpc -i eth0 -s /etc/lockstep/udhcpc.sh -q -n -t 10 -T 1 >/dev/null 2>&1
}

# The boot stub hands over what lies beside the boot file on the boot partition; an image that was
# loaded as a program has it in its initramfs.
# Prints the JSON document without its padding; fails when the slot was never filled.
read_seed() {
    for slot in /.extra/credentials/lockstep.cred /lockstep.cred; do
        [ -r "$slot" ] && [ "$(head -c 1 "$slot")" = "{" ] || continue
        sed 's/ *$//' "$slot"
        return 0
    done
    return 1
}
