#!/bin/sh
# The host's operating system: says that it is up and stays so.
. /etc/lockstep/early.sh

mount_early
load_modules
network_up || say "LOCKSTEP-NETWORK-FAILED"
say "HOST-OS-UP"
while :; do sleep 3600; done
