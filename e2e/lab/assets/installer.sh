#!/bin/sh
# Puts the operating system of this image on the first disk, or into its slot there, and starts it
# from there.
. /etc/lockstep/early.sh

fail() {
    say "LOCKSTEP-INSTALLER-FAILED $*"
    # Nothing but a power cycle from outside may try again.
    while :; do sleep 3600; done
}

mount_early
load_modules
version=$(cat /etc/lockstep/version)
say "LOCKSTEP-INSTALLER-START $version"

if [ -e /etc/lockstep/never-finishes ]; then
    say "LOCKSTEP-INSTALLER-HANGS $version"
    while :; do sleep 3600; done
fi

if read_seed >/run/lockstep/seed.json; then
    say "LOCKSTEP-INSTALLER-SEED found"
else
    rm -f /run/lockstep/seed.json
    say "LOCKSTEP-INSTALLER-SEED none"
fi

disk=
for candidate in vda nvme0n1; do
    [ -b "/dev/$candidate" ] && disk=/dev/$candidate && break
done
[ -n "$disk" ] || fail "no disk: expected virtio (vda) or NVMe (nvme0n1)"
payload=/usr/share/lockstep
case $disk in
    *nvme*) esp=${disk}p$(cat $payload/partition) ;;
    *) esp=$disk$(cat $payload/partition) ;;
esac
file=/mnt/$(cat $payload/boot-file)
entry=$(cat $payload/boot-entry)

disk_sectors=$(cat "/sys/class/block/${disk#/dev/}/size")
table_sectors=$(cat $payload/table.sectors)
[ "$disk_sectors" -ge "$table_sectors" ] ||
    fail "disk too small: $disk has $disk_sectors sectors, $table_sectors are needed"

# A table of ours stays, and with it what is in the other slot.
if ! dd if="$disk" bs=512 count=34 2>/dev/null | cmp -s - $payload/table.head; then
    dd if=$payload/table.head of="$disk" bs=512 conv=notrunc,fsync 2>/dev/null || fail "cannot write $disk"
    dd if=$payload/table.tail of="$disk" bs=512 conv=notrunc,fsync \
        seek=$((table_sectors - 33)) 2>/dev/null || fail "cannot write $disk"
    blockdev --rereadpt "$disk" || fail "kernel does not accept the partition table of $disk"
fi
[ -b "$esp" ] || fail "no partition $esp"
mkdosfs -n LOCKSTEP "$esp" >/dev/null || fail "cannot format $esp"
mkdir -p /mnt
mount -t vfat "$esp" /mnt || fail "cannot mount $esp"
mkdir -p "$file.extra.d"
cp $payload/os.efi "$file" || fail "cannot copy the operating system"
if [ -e /run/lockstep/seed.json ]; then
    cp /run/lockstep/seed.json "$file.extra.d/lockstep.cred" || fail "cannot copy the seed"
fi
umount /mnt || fail "cannot unmount $esp"
sync

# The medium is still inserted and first in the boot order, and what the BMC changes counts only
# from the next power-on: so this one reboot is sent to the disk by BootNext.
vars=/sys/firmware/efi/efivars
global=8be4df61-93ca-11d2-aa0d-00e098032b8c
mount -t efivarfs efivarfs $vars || fail "no EFI variables"
cat $payload/boot-option >"$vars/$entry-$global" || fail "cannot write $entry"
# What was not seen to run comes last in the boot order, if it is not in there already.
if [ -e /etc/lockstep/has-slots ]; then
    order=$vars/BootOrder-$global
    words='2/1 "%02x" " "'
    number=$(tail -c 2 $payload/boot-next | hexdump -v -e "$words")
    # Four bytes of attributes come first.
    case " $(tail -c +5 "$order" | hexdump -v -e "$words") " in
        *" $number"*) ;;
        *)
            { cat "$order" && tail -c 2 $payload/boot-next; } >/run/order || fail "cannot read BootOrder"
            cat /run/order >"$order" || fail "cannot write BootOrder"
            ;;
    esac
fi
cat $payload/boot-next >"$vars/BootNext-$global" || fail "cannot write BootNext"
sync
say "LOCKSTEP-INSTALLER-DONE $version"
reboot -f
