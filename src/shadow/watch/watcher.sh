#!/bin/sh
# The watcher: tells the host that the state of a network device may have changed. It changes nothing, and says nothing
# of what changed: the host captures it.
#
#   watcher.sh DIR        starts it in the background and returns
#   watcher.sh DIR run    runs it in the foreground
#
# DIR/config   port= the virtio-serial port to the host, token= what the host's words begin with, version= of this file,
#              devices= the PCI addresses of the devices
#
# It costs nothing while nothing changes: the kernel's own events (of links, addresses, routes, rules, next hops, the
# forwarding settings, qdiscs, and what ethtool sets) wake it, and nothing else does. After the first event it stops
# those who listen until the host says `arm`: however much changes, it costs one line. Only links are listened for all
# the time, as a device that is gone is told at once. While no host is connected it stands still in a write that waits
# for one, as a port of virtio-serial lets it. Runs under dash, busybox ash and bash.
#
# What it tells, as JSON lines: hello (a host has connected), changed, gone, pong, stopped.
# What it is told: TOKEN arm, TOKEN ping N, TOKEN stop. The token, which the hello tells, keeps what is in the events,
# such as the alias of an interface, from being taken for a command.

set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 077

dir=${1:?usage: watcher.sh DIR [run]}

if [ "${2-}" != run ]; then
  if [ ! -r "$dir/config" ]; then
    echo "watcher.sh: there is no $dir/config" >&2
    exit 1
  fi
  # Away from the guest agent: own session, nothing of its pipes held open.
  if command -v setsid >/dev/null 2>&1; then
    setsid sh "$0" "$dir" run </dev/null >/dev/null 2>&1 &
  else
    (
      trap '' HUP
      exec sh "$0" "$dir" run
    ) </dev/null >/dev/null 2>&1 &
  fi
  exit 0
fi

root=${SHADOWFERRY_ROOT-} # tests put a made-up /sys here
pids=$dir.pids            # beside, as the directory is made anew for the next one
fifo=$dir/in

# Sets `path` to a program's path. By path, because busybox prefers its own `ip` to a plain name.
find_tool() {
  path=
  for place in ${SHADOWFERRY_TOOLS-} /usr/sbin /sbin /usr/bin /bin /usr/local/sbin /usr/local/bin; do
    if [ -x "$place/$1" ]; then
      path=$place/$1
      return 0
    fi
  done
  return 1
}

# Sets `born` to the start time and `group` to the group of a process; fails when there is none.
born_at() {
  born=''
  group=''
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  # shellcheck disable=SC2086 # numbers, to be split
  set -- ${stat##*) }
  [ $# -ge 20 ] || return 1
  group=$3
  shift 19
  born=$1
}

# Notes a process for end_earlier, and whether the group that it is in is ours alone.
note() {
  if born_at "$1"; then
    own_group=0
    if [ "$group" = "$$" ]; then own_group=1; fi
    printf '%s %s %s\n' "$1" "$born" "$own_group" >>"$pids"
  fi
}

# Ends what an earlier watcher left behind. A pid counts only with its start time.
end_earlier() {
  [ -r "$pids" ] || return 0
  earlier=
  while read -r pid since own_group; do
    if born_at "$pid" && [ "$born" = "$since" ]; then
      earlier="$earlier $pid"
      if [ "$own_group" = 1 ]; then earlier="$earlier -$group"; fi
    fi
  done <"$pids"
  # shellcheck disable=SC2086 # pids, to be split
  if [ -n "$earlier" ]; then kill -s KILL -- $earlier 2>/dev/null; fi
  rm -f "$pids"
}

# tell NAME ['"more":"of the object"']: waits while no host is connected or the host does not read.
tell() {
  printf '{"e":"%s"%s}\n' "$1" "${2:+,$2}" >&4
}

# listen NAME PROGRAM WORD…: its lines come to the fifo.
listen() {
  name=$1
  shift
  "$@" >&3 2>/dev/null </dev/null 3>&- 4>&- 5<&- &
  listeners="$listeners $name:$!"
  note $!
}

# signal NAME: to all that listen; STOP and CONT not to the one for links.
signal() {
  for each in $listeners; do
    case $1$each in
      [SC]*link:*) ;;
      *) kill -s "$1" "${each#*:}" 2>/dev/null ;;
    esac
  done
}

# Sets `indexes` to INDEX=DEVICE of each interface of the devices.
note_devices() {
  indexes=
  for device in $devices; do
    slot=$root/sys/bus/pci/devices/$device
    for entry in "$slot/net/"* "$slot"/virtio*/net/*; do
      { read -r index <"$entry/ifindex"; } 2>/dev/null && indexes="$indexes $index=$device"
    done
  done
}

# Tells which of the noted interfaces are there no more.
look_for_devices() {
  noted=$indexes
  note_devices
  for each in $noted; do
    case "$indexes " in
      *" $each "*) ;;
      *) tell gone "\"pci\":\"${each#*=}\"" ;;
    esac
  done
}

# An interface was deleted, by its index. If it is one of ours it is looked for now, and again in a second where it is
# still there: an interface that ends tells so before it is gone, and one that leaves a bridge tells the same.
deleted() {
  case "$indexes " in
    *" $1="*) ;;
    *) return 0 ;;
  esac
  look_for_devices
  case "$indexes " in
    *" $1="*)
      (
        sleep 1
        printf '\n%s look\n' "$token" >&3
      ) 4>&- 5<&- &
      ;;
  esac
}

# Sets `deaf` to the names of those that do not listen any more, as JSON strings. Who has ended has no open files;
# to read its state would cost more than all else that an idle watcher does, as the shell reads byte by byte.
who_is_deaf() {
  deaf=
  for each in $listeners; do
    if [ ! -e "/proc/${each#*:}/fd/1" ]; then deaf="$deaf${deaf:+,}\"${each%%:*}\""; fi
  done
}

# The objects that this ip can monitor, of those that matter. Neighbours come and go with the traffic: they are left
# out, and the few that somebody configured are seen by the host's next look.
objects_of() {
  usage=$("$1" monitor help 2>&1 </dev/null)
  objects=
  for object in address route mroute rule nexthop netconf; do
    case $usage in
      *"$object"*) objects="$objects $object" ;;
    esac
  done
}

# Copies commands from the port to the fifo, each on a line of its own, whatever a listener has left unfinished there.
# The hello waits for a host; when the host leaves, the port reads as ended. What is left of a watcher that was killed
# does not greet.
read_port() {
  trap - TERM INT HUP
  while kill -s 0 "$$" 2>/dev/null && tell hello "\"version\":\"$version\",\"token\":\"$token\""; do
    while IFS= read -r said <&5; do
      printf '\n%s\n' "$said" >&3
    done
  done
}

# The port may be opened once only, so all share what is opened here: 4 is written, 5 is read.
open_port() {
  tries=0
  until (: <>"$port") 2>/dev/null; do
    tries=$((tries + 1))
    if [ "$tries" = 20 ] || [ ! -e "$port" ]; then exit 1; fi
    sleep 0.1 || sleep 1 # an earlier one has just been ended and still has it
  done
  if [ -n "${SHADOWFERRY_REPLY-}" ]; then # tests have two fifos for a port
    exec 5<>"$port" 4<>"$SHADOWFERRY_REPLY"
  else
    exec 4<>"$port" 5<&4
  fi
}

end() {
  trap '' TERM INT HUP
  signal KILL # a stopped one would not hear anything else
  kill "$reader" 2>/dev/null
  rm -rf "$dir" "$pids"
}

port='' token='' version='' devices='' # from the configuration
listeners=''                           # NAME:PID of each
indexes=''                             # INDEX=DEVICE of their interfaces, as the host saw them last
reader=''
told=1 # the host was told; what comes now it will see
end_earlier
rm -f "$fifo"
# shellcheck source=/dev/null
. "$dir/config"
mkfifo "$fifo" || exit 1
exec 3<>"$fifo" # both ways, so that neither an end nor a missing reader is ever seen on it
open_port
trap end EXIT
trap 'exit 0' TERM INT HUP
note $$
read_port &
reader=$!
note "$reader"
if find_tool ip; then
  ip=$path
  objects_of "$ip"
  listen link "$ip" -o monitor link
  # shellcheck disable=SC2086 # words
  listen ip "$ip" -o monitor $objects
else
  listeners="$listeners link:0 ip:0"
fi
if find_tool tc; then listen tc "$path" monitor; fi
if find_tool ethtool; then
  # it tells when it has 4 KiB to tell, unless its lines are passed on one by one
  ethtool=$path
  if find_tool stdbuf; then listen ethtool "$path" -oL "$ethtool" --monitor; else listeners="$listeners ethtool:0"; fi
fi

while IFS= read -r line <&3; do
  case $line in
    '') ;; # before a command
    "$token arm")
      told=
      note_devices
      signal CONT
      ;;
    "$token ping "*)
      n=${line#"$token ping "}
      case $n in
        '' | *[!0-9]* | ??????????*) ;;
        *)
          who_is_deaf
          tell pong "\"n\":$n,\"deaf\":[$deaf]"
          ;;
      esac
      ;;
    "$token look") look_for_devices ;;
    "$token stop")
      tell stopped
      exit 0
      ;;
    *)
      case $line in
        'Deleted '[0-9]*:*)
          line=${line#Deleted }
          deleted "${line%%:*}"
          ;;
      esac
      if [ -z "$told" ]; then
        told=1
        signal STOP
        tell changed
      fi
      ;;
  esac
done
