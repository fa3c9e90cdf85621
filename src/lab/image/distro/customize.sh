#!/bin/sh
# Called by mmdebstrap with the directory of the finished distribution: puts the lab's own files in, and makes the
# root file system of it. Runs where all files belong to whom they should, be it as root or in a user namespace.
#
#   WORK   the image's parts go here: root.ext4, boot/, modules/
#   FILES  tree of the lab's own files
#   UNITS  units that are masked, separated by spaces
#   WANTED units that are started
#   SIZE   of the root file system
set -eu
root=$1

rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/*.log "$root"/var/log/apt
cp -R --no-preserve=ownership "$FILES/." "$root/"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants" "$root/etc/network/interfaces.d"
for unit in $UNITS; do ln -sfn /dev/null "$root/etc/systemd/system/$unit"; done
for unit in $WANTED; do
  ln -sfn "/etc/systemd/system/$unit" "$root/etc/systemd/system/multi-user.target.wants/$unit"
done
# the guest's setup enables the one manager that it is to have
for unit in networking NetworkManager systemd-networkd; do
  rm -f "$root"/etc/systemd/system/*.wants/"$unit".service "$root"/etc/systemd/system/*."$unit".service
done
rm -f "$root/etc/systemd/system/sockets.target.wants/systemd-networkd.socket"
ln -sfn /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
echo guest >"$root/etc/hostname"
printf '127.0.0.1 localhost guest\n::1 localhost\n' >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
: >"$root/etc/fstab"

mkdir -p "$WORK/boot" "$WORK/modules" "$WORK/plain"
cp "$root"/boot/vmlinuz-* "$WORK/boot/"
cp -R "$root"/lib/modules/* "$WORK/modules/"
rm -rf "${root:?}"/boot/*
# without what is mounted below it for the packages' scripts
mount --bind "$root" "$WORK/plain"
trap 'umount "$WORK/plain"' EXIT
# no journal: the guests are thrown away, and each write costs
mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=1 -L root -d "$WORK/plain" "$WORK/root.ext4" "$SIZE"
