#!/bin/bash
# A real systemd as PID 1 of its own namespaces, over a throw-away overlay of this host's root. Nothing outside
# of the overlay is written; DIR/share is /lab inside.
#
#   lab.sh check          exit 0 when a lab can be booted here, else say why not
#   lab.sh start DIR      boot, wait until the manager answers
#   lab.sh exec DIR CMD…  run a command inside
#   lab.sh stop DIR       power off and take everything away
set -euo pipefail
export LC_ALL=C

cgroup_root() {
    if [ -f /sys/fs/cgroup/cgroup.procs ]; then echo /sys/fs/cgroup; else echo /sys/fs/cgroup/unified; fi
}
group_of() { echo "$(cgroup_root)/lab-$(basename "$1")-$$"; }
leader() { local pid; pid=$(cat "$1/pid" 2>/dev/null) && [ -d "/proc/$pid" ] && echo "$pid"; }

check() {
    [ "$(id -u)" = 0 ] || { echo "needs root: namespaces and mounts"; return 1; }
    local tool
    for tool in unshare nsenter pivot_root systemctl journalctl systemd-sysusers; do
        command -v $tool >/dev/null || { echo "$tool is not installed"; return 1; }
    done
    [ -x /lib/systemd/systemd ] || { echo "systemd is not installed"; return 1; }
    [ -w "$(cgroup_root)/cgroup.procs" ] || { echo "no writable cgroup2 hierarchy"; return 1; }
    unshare --mount --pid --fork --cgroup --ipc --uts --net bash -c '
        d=$(mktemp -d) && mount -t tmpfs tmpfs "$d" && mkdir "$d"/{u,w,r} &&
        mount -t overlay overlay -o "lowerdir=/,upperdir=$d/u,workdir=$d/w" "$d/r" &&
        mount -t cgroup2 cgroup2 "$d/u"; r=$?; umount -Rl "$d"; rmdir "$d"; exit $r' 2>/dev/null ||
        { echo "namespaces, overlayfs or cgroup2 cannot be had here"; return 1; }
}

# Runs as PID 1 of the new namespaces: makes the root, then becomes systemd.
inner() {
    local lab=$1 unit node
    mount --make-rprivate /
    mkdir -p "$lab/root" && mount -t tmpfs -o mode=755 tmpfs "$lab/root"
    mkdir "$lab"/root/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=/,upperdir=$lab/root/upper,workdir=$lab/root/work" "$lab/root/root"
    cd "$lab/root/root"

    # Whatever the host starts stays out, and so does what wants hardware, a clock or a console.
    rm -rf etc/systemd/system/*.target.wants etc/rc?.d
    for unit in systemd-{udevd,udev-trigger,timesyncd,modules-load,sysctl,random-seed,hwdb-update,remount-fs}.service \
        systemd-{firstboot,pstore,update-utmp,update-utmp-runlevel,binfmt,machine-id-commit,tmpfiles-setup-dev}.service \
        systemd-udevd-{control,kernel}.socket systemd-ask-password-{wall,console}.path networking.service \
        getty.target console-getty.service dev-{hugepages,mqueue}.mount sys-kernel-{debug,tracing}.mount \
        sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount; do
        ln -sf /dev/null "etc/systemd/system/$unit"
    done
    ln -sf /lib/systemd/system/multi-user.target etc/systemd/system/default.target
    rm -f usr/sbin/policy-rc.d  # an image of a container has one: nothing may be started
    : >etc/fstab
    systemd-id128 new >etc/machine-id
    mkdir -p etc/systemd/{journald,system}.conf.d
    printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' >etc/systemd/journald.conf.d/lab.conf
    printf '[Manager]\nLogTarget=journal\nShowStatus=no\n' >etc/systemd/system.conf.d/lab.conf

    mount -t proc proc proc
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs dev
    for node in null zero full random urandom tty; do
        : >"dev/$node" && mount --bind "/dev/$node" "dev/$node"
    done
    mkdir dev/shm dev/pts && mount -t tmpfs -o mode=1777 tmpfs dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
    ln -s pts/ptmx dev/ptmx && ln -s /proc/self/fd dev/fd
    ln -s fd/0 dev/stdin && ln -s fd/1 dev/stdout && ln -s fd/2 dev/stderr
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=1777 tmpfs tmp
    mkdir -p lab .outside && mount --bind "$lab/share" lab
    pivot_root . .outside
    umount -l /.outside
    exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system </dev/null >/dev/null 2>&1
}

within() {
    local pid
    pid=$(leader "$1") || { echo "the lab is not up" >&2; return 3; }
    shift
    exec nsenter --target "$pid" --mount --pid --cgroup --ipc --uts --net -- env -i \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        LANG=C.UTF-8 HOME=/root SYSTEMD_PAGER=cat SYSTEMD_COLORS=0 "$@"
}

start() {
    local lab=$1 group outer pid state i
    mkdir -p "$lab/share"
    group=$(group_of "$lab") && mkdir "$group" && echo "$group" >"$lab/cgroup"
    # The cgroup is entered first, so that the new cgroup namespace has it as its root.
    setsid bash -c 'echo $$ >"$1/cgroup.procs"; exec unshare --mount --pid --fork --kill-child --cgroup --ipc --uts \
        --net bash "$2" inner "$3"' lab "$group" "$0" "$lab" </dev/null >"$lab/out" 2>&1 &
    outer=$!
    for i in $(seq 600); do
        pid=$(pgrep -P $outer || true)
        [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = systemd ] && break
        kill -0 $outer 2>/dev/null || { cat "$lab/out" >&2; return 1; }
        sleep 0.05
    done
    echo "$pid" >"$lab/pid"
    for i in $(seq 600); do
        state=$(bash "$0" exec "$lab" systemctl is-system-running 2>/dev/null || true)
        case $state in running | degraded) echo "$state"; return 0 ;; esac
        sleep 0.05
    done
    echo "systemd did not come up: ${state:-no answer}" >&2
    return 1
}

stop() {
    local lab=$1 pid i
    if pid=$(leader "$lab"); then
        bash "$0" exec "$lab" systemctl poweroff --no-block >/dev/null 2>&1 || true
        for i in $(seq 600); do [ -d "/proc/$pid" ] || break; sleep 0.05; done
        [ ! -d "/proc/$pid" ] || kill -9 "$pid"
    fi
    if [ -f "$lab/cgroup" ]; then
        for i in $(seq 100); do
            find "$(cat "$lab/cgroup")" -depth -type d -exec rmdir {} + 2>/dev/null && break
            sleep 0.05
        done
    fi
    rm -rf "$lab/pid" "$lab/cgroup" "$lab/root" "$lab/out"
}

verb=${1:-check}
shift || true
case $verb in
check | start | stop | inner) "$verb" "$@" ;;
exec) within "$@" ;;
*) echo "unknown: $verb" >&2; exit 2 ;;
esac
