#!/bin/bash
# The first process of a node's own namespaces: prepares mounts and network, then holds them open.
# Its end ends every process and every mount of the node.
#
# inside.sh STATE ADDRESS PAUSE
#   STATE    folder with run/, var-lib-cni/, var-lib-kubelet/, log-pods/, log-containers/, sysctl/
#   ADDRESS  of the node
#   PAUSE    program that reaps orphans and does nothing else
set -eu
state=$1 address=$2 pause=$3

# A sysfs of our own shows the devices of our own network; the cgroup hierarchies are kept.
mkdir "$state/cgroup"
mount --rbind /sys/fs/cgroup "$state/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$state/cgroup" /sys/fs/cgroup
umount -l "$state/cgroup"

# Fixed paths of kubelet, containerd and the CNI plugins.
mount --bind "$state/run" /run
mount --bind "$state/var-lib-cni" /var/lib/cni
mount --bind "$state/var-lib-kubelet" /var/lib/kubelet
mount --bind "$state/log-pods" /var/log/pods
mount --bind "$state/log-containers" /var/log/containers

# kubelet would set these for the whole machine: it finds them as it wants them, and they stay as
# they are. Each is a file named like the setting.
for setting in "$state"/sysctl/*; do
    file=/proc/sys/$(basename "$setting" | tr . /)
    if [ -e "$file" ]; then
        mount --bind "$setting" "$file"
    fi
done
mount --make-rshared /

# There may be no dummy devices: the node's address is on one end of a pair that leads nowhere.
ip link set lo up
ip link add eth0 type veth peer name nowhere
ip link set nowhere up
ip link set eth0 up
ip address add "$address/24" dev eth0
# Addresses of Services need a route before they are rewritten.
ip route add default dev eth0
echo 1 > /proc/sys/net/ipv4/ip_forward

touch "$state/prepared"
exec "$pause"
