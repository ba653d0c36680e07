#!/bin/sh
# Makes the root directory of the image: envoy/docker/rootfs.sh BINARY DIRECTORY
#
# The program, the shared libraries that it is linked with, and what they read: names of users, how hosts are looked up, and the
# certificates of the authorities that TLS to Redis trusts by default.
set -eu
binary=$1
root=$2
here=$(dirname "$0")

mkdir -p "$root/bin" "$root/config" "$root/etc/ssl/certs" "$root/usr/share/doc/spillway"
cp "$binary" "$root/bin/spillway"
chmod 755 "$root/bin/spillway"
ln -sf spillway "$root/bin/ratelimit"

# The loader is there without an arrow.
ldd "$binary" | sed -n 's/^.*[[:space:]]\(\/[^ ]*\) (0x[0-9a-f]*)$/\1/p' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done

echo 'nobody:x:65534:65534:nobody:/:/bin/false' > "$root/etc/passwd"
echo 'nogroup:x:65534:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
if [ -r /etc/ssl/certs/ca-certificates.crt ]; then
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
fi
cp "$here/../../LICENSE" "$root/usr/share/doc/spillway/"
