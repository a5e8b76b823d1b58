#!/usr/bin/env bash
# Makes toolchain.tar: a root filesystem with a small C compiler, a C library and busybox, from Debian's packages.
# Usage: toolchain.sh OUT.tar
set -euo pipefail
out=$(realpath -m "$1")
[ -s "$out" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
apt-get download -qq tcc libc6 musl-dev busybox-static 2>/dev/null || {
  apt-get update -qq
  apt-get download -qq tcc libc6 musl-dev busybox-static
}
mkdir -p root/usr/bin root/tmp
for package in *.deb; do dpkg-deb --fsys-tarfile "$package" | tar -x -C root --keep-directory-symlink; done
# Debian's packages put programs and libraries in /bin, /usr/bin, /lib: one /usr is enough here.
[ -d root/bin ] && cp -a root/bin/. root/usr/bin/ && rm -r root/bin
ln -s usr/bin root/bin
for applet in sh tee grep cat ls mkdir rm cp echo true false env id sleep; do ln -sf busybox root/usr/bin/$applet; done
rm -rf root/usr/share
mkdir -p "$(dirname "$out")"
tar -C root --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$out.part" .
mv "$out.part" "$out"
