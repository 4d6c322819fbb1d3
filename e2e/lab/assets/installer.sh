#!/bin/sh
# Puts the operating system of this image on the first disk and starts it from there.
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
case $disk in
    *nvme*) esp=${disk}p1 ;;
    *) esp=${disk}1 ;;
esac

payload=/usr/share/lockstep
disk_sectors=$(cat "/sys/class/block/${disk#/dev/}/size")
table_sectors=$(cat $payload/table.sectors)
[ "$disk_sectors" -ge "$table_sectors" ] ||
    fail "disk too small: $disk has $disk_sectors sectors, $table_sectors are needed"

dd if=$payload/table.head of="$disk" bs=512 conv=notrunc,fsync 2>/dev/null || fail "cannot write $disk"
dd if=$payload/table.tail of="$disk" bs=512 conv=notrunc,fsync \
    seek=$((table_sectors - 33)) 2>/dev/null || fail "cannot write $disk"
blockdev --rereadpt "$disk" || fail "kernel does not accept the partition table of $disk"
[ -b "$esp" ] || fail "no partition $esp"
mkdosfs -n LOCKSTEP "$esp" >/dev/null || fail "cannot format $esp"
mkdir -p /mnt
mount -t vfat "$esp" /mnt || fail "cannot mount $esp"
mkdir -p /mnt/EFI/BOOT/BOOTX64.EFI.extra.d
cp $payload/os.efi /mnt/EFI/BOOT/BOOTX64.EFI || fail "cannot copy the operating system"
if [ -e /run/lockstep/seed.json ]; then
    cp /run/lockstep/seed.json /mnt/EFI/BOOT/BOOTX64.EFI.extra.d/lockstep.cred || fail "cannot copy the seed"
fi
umount /mnt || fail "cannot unmount $esp"
sync

# The medium is still inserted and first in the boot order, and what the BMC changes counts only
# from the next power-on: so this one reboot is sent to the disk by BootNext.
vars=/sys/firmware/efi/efivars
global=8be4df61-93ca-11d2-aa0d-00e098032b8c
mount -t efivarfs efivarfs $vars || fail "no EFI variables"
cat $payload/boot-option >"$vars/Boot10C5-$global" || fail "cannot write Boot10C5"
cat $payload/boot-next >"$vars/BootNext-$global" || fail "cannot write BootNext"
sync
say "LOCKSTEP-INSTALLER-DONE $version"
reboot -f
