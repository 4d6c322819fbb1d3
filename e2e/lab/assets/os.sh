#!/bin/sh
# The card's operating system: network, seed, agent.
. /etc/lockstep/early.sh

mount_early
load_modules
mount -t efivarfs efivarfs /sys/firmware/efi/efivars 2>/dev/null
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
version=$(cat /etc/lockstep/version)

if [ -e /etc/lockstep/never-reports ]; then
    say "LOCKSTEP-OS-MUTE $version"
    while :; do sleep 3600; done
fi

network_up || say "LOCKSTEP-NETWORK-FAILED"

if (umask 077 && read_seed >/run/lockstep/seed.json); then
    say "LOCKSTEP-SEED found"
else
    rm -f /run/lockstep/seed.json
    say "LOCKSTEP-SEED none"
fi
say "LOCKSTEP-OS-UP $version"

wipe=
[ ! -e /etc/lockstep/wipes ] || wipe=yes

while :; do
    /bin/lockstep-agent xpu ${wipe:+--wipe} --seed /run/lockstep/seed.json >/dev/console 2>&1
    say "LOCKSTEP-AGENT-EXIT $?"
    sleep 2
done
