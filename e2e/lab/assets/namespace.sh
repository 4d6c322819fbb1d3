# Arguments: the lab's folder that stands in for libvirt's, the folder for what libvirt finds out
# about QEMU (7 s of probing, kept between labs; libvirt checks that it still fits), then the program.
# Runs in a fresh mount namespace: nothing here is seen outside, so any number of labs and the
# machine's own libvirt get along.
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
exec "$@"
