# Arguments: the lab's folder that stands in for libvirt's, the folder for what libvirt finds out
# about QEMU (7 s of probing, kept between labs; libvirt checks that it still fits), then the program.
# Runs in a fresh mount namespace: nothing here is seen outside, so any number of labs and the
# machine's own libvirt get along. When the program ends its VMs end too, which are no children of its;
# SIGTERM ends it, also the one that the kernel sends when the lab's process is no more.
set -eu
own=$1
cache=$2
shift 2
mount --make-rprivate /
for part in etc/libvirt var/lib/libvirt var/log/libvirt var/log/swtpm var/lib/swtpm-localca \
    run/libvirt; do
    mkdir -p "/$part" "$own/$part"
    mount --bind "$own/$part" "/$part"
done
mkdir -p /var/cache/libvirt "$cache"
mount --bind "$cache" /var/cache/libvirt

"$@" &
program=$!
trap 'kill -TERM "$program" || :' TERM
status=0
# Each signal cuts a wait short.
while kill -0 "$program" 2>/dev/null; do
    wait "$program" || status=$?
done
for file in /run/libvirt/qemu/*.pid; do
    pid=$(cat "$file" 2>/dev/null) || continue
    # A pid may mean another process by now; our VMs' disks lie in the lab's folder.
    ! grep -aqsF "${own%/*}/" "/proc/$pid/cmdline" || kill -KILL "$pid" || :
done
exit "$status"
