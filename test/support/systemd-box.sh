#!/bin/sh
# Becomes systemd, as process 1 of its own, with basewire installed as a package would install it. Run by systemd-box.ts in new mount, process,
# network, IPC, UTS and cgroup namespaces: nothing of the machine's own systemd is touched. The machine's root is the lower layer of an
# overlay, so what is written here is gone with the box.
#     systemd-box.sh FOLDER PROJECT CONFIGURATION
set -eu
folder=$1 project=$2 configuration=$3
root=$folder/root

mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$root" "$folder/upper" "$folder/work"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
  touch "$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"

node "$project/scripts/install.mjs" --into "$root" >/dev/null
chroot "$root" systemd-sysusers basewire.conf
chroot "$root" systemd-tmpfiles --create basewire.conf
cp "$configuration" "$root/etc/basewire/basewire.yaml"
chmod 644 "$root/etc/basewire/basewire.yaml"

# Nothing else is started: not the machine's services, no devices, no journal.
rm -rf "$root/etc/systemd/system" "$root/etc/fstab"
mkdir "$root/etc/systemd/system"
printf '[Unit]\nDescription=Box\nDefaultDependencies=no\n' >"$root/etc/systemd/system/box.target"
for unit in systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket \
  systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service \
  systemd-modules-load.service systemd-sysctl.service systemd-random-seed.service systemd-update-utmp.service \
  systemd-binfmt.service systemd-machine-id-commit.service kmod-static-nodes.service dev-hugepages.mount \
  dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
  proc-sys-fs-binfmt_misc.automount systemd-ask-password-console.path systemd-ask-password-wall.path; do
  ln -s /dev/null "$root/etc/systemd/system/$unit"
done

ip link set lo up
ip link add bw0 type veth peer name bw1
ip link set bw0 up
ip link set bw1 up

cd "$root"
mkdir old
pivot_root . old
umount -l /old
container=basewire-box exec /lib/systemd/systemd --system --unit=box.target --log-target=console --show-status=no
