# Arguments: the lab's folder that stands in for libvirt's, then the program to run.
# Runs in a fresh mount namespace: nothing here is seen outside, so any number of labs and the
# machine's own libvirt get along.
set -eu
own=$1
shift
mount --make-rprivate /
for part in etc/libvirt var/lib/libvirt var/cache/libvirt var/log/libvirt var/log/swtpm \
    var/lib/swtpm-localca run/libvirt; do
    mkdir -p "/$part" "$own/$part"
    mount --bind "$own/$part" "/$part"
done
exec "$@"
