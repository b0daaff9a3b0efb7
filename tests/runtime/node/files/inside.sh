#!/bin/bash
# The first process of a node's own namespaces: prepares mounts and network, then holds them open.
# Its end ends every process and every mount of the node.
#
# inside.sh STATE ADDRESS QUEUE PAUSE
#   STATE    folder with run/, var-lib-cni/, var-lib-kubelet/, log-containers/, sysctl/
#   ADDRESS  of the node
#   QUEUE    number of the queue at which kube-network-policies waits for packets
#   PAUSE    program that reaps orphans and does nothing else
set -eu
state=$1 address=$2 queue=$3 pause=$4

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

# Pods on one bridge reach each other by Services, and are kept from each other by policies, only
# where bridged packets are filtered, too. It may be built in.
modprobe br_netfilter 2> /dev/null || [ -e /proc/sys/net/bridge ] || {
    echo "this kernel has no br_netfilter" >&2
    exit 1
}

# Each new connection is judged by kube-network-policies. Its own rules say the same in nftables,
# for which not every kernel has a queue. What root sends is the node's own, such as probes.
judge() { iptables-nft --table mangle --append POSTROUTING "$@"; }
judge --match owner --uid-owner 0 --jump ACCEPT
judge --match conntrack --ctstate ESTABLISHED,RELATED --jump ACCEPT
judge --jump NFQUEUE --queue-num "$queue"

touch "$state/prepared"
exec "$pause"
