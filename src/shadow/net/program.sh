#!/bin/sh
# The replay program: waits in the guest for a direct device and gives it the state of its shadow.
#
#   program.sh DIR        starts it in the background and returns
#   program.sh DIR run    runs it in the foreground
#   program.sh DIR end    ends it, whatever state it is in, and removes what it made
#
# DIR/config        port= the virtio-serial port to the host, may be empty; reply= where it is answered, if not there
# DIR/source        compiled plan for the device that leaves, used for adopt, leave, giveback and rollback
# DIR/destination   compiled plan for the device that comes
# DIR.manager       beside it: manager.sh, which is run when the replay is done (manager/manager.sh)
# DIR/log.jsonl     what it said, as JSON lines; the same lines go to the port
#
# It travels in the guest's memory and acts without a word from any host. It waits for link events and commands in
# one place, a fifo, and never polls. Processes are what it must save: each costs 5 to 10 ms in an emulated guest,
# so sysfs, /proc and strings are the shell's own work. Runs under dash, busybox ash and bash.
#
# No signal is caught: a shell that is told in between its look at what has come and its wait for more would sleep on,
# and a child that has the shell's trap still, because it was forked just now, would lose it. Whatever ends the
# program, the kernel closes what it had open; that wakes the keeper, which ends all the others.

set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 077

dir=${1:?usage: program.sh DIR [run]}
root=${SHADOWFERRY_ROOT-} # tests put a made-up /sys and /proc/sys here

if [ $# -lt 2 ]; then
  if [ ! -r "$dir/config" ]; then
    echo "program.sh: there is no $dir/config" >&2
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

run=$dir/run
pids=$dir.pids # beside, as the directory is made anew for the next migration
link_file=$root/run/systemd/network/10-shadowferry-${dir##*/}.link # what udev is told
net=$root/sys/class/net
config_port=
# Largest number of lines that wait for a host that does not read: the pipe takes 64 KiB, a line is below 400 bytes.
MAX_WAITING=150
# Failed operations that are told one by one, of each set.
MAX_TOLD=20
OFTEN=20 # ms between a bond's looks for a link while a device moves
LONGEST="????????????????????????????????????????????????????????????????????????????????????????????????????"
LONGEST=$LONGEST$LONGEST

# ---------------------------------------------------------------- processes

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

# Sets `born` to the start time and `group` to the process group of a process; fails when there is none.
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

# Sets `keeper` and `others` to the noted processes that still run, as arguments of kill. A pid counts only with its
# start time.
find_noted() {
  keeper=''
  others=''
  if [ ! -r "$pids" ]; then return 0; fi
  while read -r pid since own_group role; do
    if born_at "$pid" && [ "$born" = "$since" ]; then
      if [ "$own_group" = 1 ]; then others="$others -$group"; fi
      if [ "$role" = keeper ]; then keeper=$pid; else others="$others $pid"; fi
    fi
  done <"$pids"
}

# Ends what an earlier program of this directory left behind; its keeper first, as that removes files.
end_earlier() {
  find_noted
  # shellcheck disable=SC2086 # pids, to be split
  if [ -n "$keeper$others" ]; then kill -s KILL -- $keeper $others 2>/dev/null; fi
}

# Notes a process of the program: note PID [keeper].
note() {
  if born_at "$1"; then
    own_group=0
    if [ "$group" = "$$" ]; then own_group=1; fi
    printf '%s %s %s %s\n' "$1" "$born" "$own_group" "${2-}" >>"$pids"
  fi
}

# Removes all that the program made beside its log; the notes last, as long as they are there somebody can be ended.
clean() {
  rm -rf "$link_file" "$run" "$pids"
}

# Waits until the program has ended, and then ends what it started. A process of its own. Nothing but the program, and
# what it waits for, has the other end of what is read here.
keep() {
  trap '' TERM INT HUP
  read -r rest <&8
  find_noted
  writer=
  if [ -r "$run/writer" ]; then read -r writer <"$run/writer"; fi
  clean
  # It ends by itself when it has passed on the last words, unless no host reads them.
  if [ -n "$writer" ] && born_at "$writer"; then sleep 0.2 || sleep 1; fi
  # shellcheck disable=SC2086 # pids, to be split
  if [ -n "$others" ]; then kill -s KILL -- $others 2>/dev/null; fi
}

# ---------------------------------------------------------------- telling

# Sets `escaped` to $1 as the inside of a JSON string, of at most 200 characters.
escape() {
  text=$1
  if [ "${#text}" -gt 200 ]; then
    # shellcheck disable=SC2295 # 200 question marks, as a pattern
    text=${text%"${text#$LONGEST}"}
  fi
  escaped=$text
  case $text in
    *[\"\\[:cntrl:]]*) ;;
    *) return 0 ;;
  esac
  escaped=
  while [ -n "$text" ]; do
    tail=${text#?}
    char=${text%"$tail"}
    text=$tail
    case $char in
      [\"\\]) escaped=$escaped\\$char ;;
      [[:cntrl:]]) escaped="$escaped " ;;
      *) escaped=$escaped$char ;;
    esac
  done
}

# Tells an event: emit NAME ['"more":"of the object"'].
emit() {
  read -r up rest </proc/uptime
  line="{\"e\":\"$1\",\"up\":$up${2:+,$2}}"
  printf '%s\n' "$line" >&6
  if [ -n "$config_port" ] && [ "$waiting_lines" -lt "$MAX_WAITING" ]; then
    waiting_lines=$((waiting_lines + 1))
    printf '%s\n' "$line" >&5
  fi
}

fail() {
  escape "$2"
  emit failed "\"what\":\"$1\",\"err\":\"$escaped\""
}

# ---------------------------------------------------------------- operations, as the steps files call them

# Counts a failed operation and tells the first ones: failed_op ID CODE TEXT.
failed_op() {
  failed=$((failed + 1))
  if [ "$failed" -le "$MAX_TOLD" ]; then
    escape "$3"
    emit op "\"set\":\"$set_name\",\"id\":$1,\"rc\":$2,\"err\":\"$escaped\""
  fi
}

# Sets `said` to the text of the error file, in one line.
read_errors() {
  said=
  while IFS= read -r said_line || [ -n "$said_line" ]; do
    said="$said${said:+; }$said_line"
    said_line=
  done <"$run/err"
}

# Does this text say that everything is already as it should be?
is_harmless() {
  case $1 in
    *'File exists'* | *'unmodified'* | *'not modified'* | *'parameters changed'* | *'parameters modified'*) return 0 ;;
  esac
  return 1
}

# Runs a program; sets `code` and, when it fails, `said`.
attempt() {
  code=0
  "$@" >/dev/null 2>"$run/err" || code=$?
  if [ "$code" != 0 ]; then
    read_errors
    if is_harmless "$said"; then code=0; fi
  fi
}

# Sets `path` to the program that a plan calls by name.
tool() {
  case $1 in
    ip) path=$ip ;;
    *)
      # found once
      eval "path=\${tool_$1-}"
      if [ -z "$path" ] && find_tool "$1"; then eval "tool_$1=\$path"; fi
      ;;
  esac
  if [ -n "$path" ]; then return 0; fi
  said="the guest has no $1"
  return 1
}

# op ID TOOL ARGUMENT…
op() {
  if [ -n "$renaming" ]; then finish_claim; fi
  id=$1
  name=$2
  shift 2
  if ! tool "$name"; then
    failed_op "$id" 127 "$said"
    return 0
  fi
  attempt "$path" "$@"
  if [ "$code" = 0 ]; then return 0; fi
  if [ "$name" != ethtool ] || [ $# -le 4 ]; then
    failed_op "$id" "$code" "$said"
    return 0
  fi
  case $said in
    *'Operation not supported'*)
      failed_op "$id" "$code" "$said" # all of it
      return 0
      ;;
  esac
  # One setting that cannot be must not keep the others away.
  option=$1
  dev=$2
  shift 2
  refused=
  while [ $# -ge 2 ]; do
    attempt "$path" "$option" "$dev" "$1" "$2"
    if [ "$code" != 0 ]; then
      refused="$refused${refused:+; }$1: $said"
      last=$code
    fi
    shift 2
  done
  if [ -n "$refused" ]; then failed_op "$id" "$last" "$refused"; fi
}

# write ID FILE VALUE. In one piece and without a line end: some files of the kernel take a first byte for all.
write() {
  if [ -n "$renaming" ]; then finish_claim; fi
  write_now "$@"
}

# sysctl ID CLASS KEY VALUE: of the device, e.g. ipv4/conf rp_filter 1. It follows the device when that is renamed.
sysctl() {
  write_now "$1" "/proc/sys/net/$2/$current/$3" "$4"
}

write_now() {
  if { printf '%s' "$3" >"$root$2"; } 2>/dev/null; then return 0; fi
  code=0
  { printf '%s' "$3" >"$root$2"; } 2>"$run/err" || code=$?
  if [ "$code" = 0 ]; then return 0; fi
  read_errors
  failed_op "$1" "$code" "$2 does not take $3: $said"
}

# Runs a batch file whose first line is operation `base`; sets `reached` to its last line that is known to be done,
# and `broken` when the tool gave the batch up (it does so at words that it does not know, whatever -force says).
run_batch() {
  base=$1
  file=$2
  shift 2
  broken=
  reached=0
  if "$@" -force -batch "$file" >/dev/null 2>"$run/err"; then return 0; fi
  said=
  while IFS= read -r said_line || [ -n "$said_line" ]; do
    case $said_line in
      "Command failed $file:"*)
        reached=${said_line##*:}
        is_harmless "$said" || failed_op $((base + reached - 1)) 1 "$said"
        said=
        ;;
      *) said="$said${said:+; }$said_line" ;;
    esac
    said_line=
  done <"$run/err"
  if [ -n "$said" ]; then broken=1; fi
}

# Runs the waiting part of a broken batch, operation by operation where it breaks again.
run_part() {
  if [ "$part_size" = 0 ]; then return 0; fi
  run_batch "$part_base" "$run/part" "$path" "$@"
  if [ -n "$broken" ]; then
    number=0
    while IFS= read -r words <&7; do
      number=$((number + 1))
      if [ "$number" -gt "$reached" ]; then
        # shellcheck disable=SC2086 # words of the plan, which hold nothing but letters, digits and @%+=:,./-_
        attempt "$path" "$@" $words
        if [ "$code" != 0 ]; then failed_op $((part_base + number - 1)) "$code" "$said"; fi
      fi
    done 7<"$run/part"
  fi
  part_size=0
  : >"$run/part"
}

# batch FIRST-ID COUNT ONCE FILE TOOL OPTION…: the first ONCE lines are not repeated. `lines`, when not empty, is
# what is in the file.
batch() {
  first=$1
  count=$2
  once=$3
  batch_file=$4
  name=$5
  shift 5
  before=$failed
  if ! tool "$name"; then
    failed_op "$first" 127 "$said"
    return 0
  fi
  if [ -z "$renaming" ]; then
    run_batch "$first" "$batch_file" "$path" "$@"
  elif [ "$name" = ip ] && [ $# = 0 ] && [ -n "$lines" ]; then
    printf '%s\n%s\n' "$renaming" "$lines" >"$run/first"
    renaming=''
    current=$device
    run_batch $((first - 1)) "$run/first" "$path"
    if [ "$reached" -gt 0 ]; then reached=$((reached - 1)); fi
    if [ -e "$net/$device" ]; then claimed_it; fi
  else
    finish_claim
    run_batch "$first" "$batch_file" "$path" "$@"
  fi
  lines=''
  if [ -n "$broken" ]; then
    at=0
    part_size=0
    : >"$run/part"
    if [ "$reached" -gt "$once" ]; then once=$reached; fi
    while IFS= read -r words <&8; do
      at=$((at + 1))
      if [ "$at" -le "$once" ]; then continue; fi
      if [ "$part_size" = 0 ]; then part_base=$((first + at - 1)); fi
      printf '%s\n' "$words" >>"$run/part"
      part_size=$((part_size + 1))
      if [ "$part_size" = 64 ]; then run_part "$@"; fi
    done 8<"$batch_file"
    run_part "$@"
  fi
  emit batch "\"set\":\"$set_name\",\"first\":$first,\"count\":$count,\"failed\":$((failed - before))"
}

# stage NAME: it is over.
stage() {
  emit stage "\"set\":\"$set_name\",\"name\":\"$1\""
  if [ "$set_name" != attach ]; then return 0; fi
  if [ "$1" = traffic ]; then traffic=1; fi
  progress
}

# need PATH: below /sys/class/net. Without it the rest of the set would only do harm.
need() {
  if [ -e "$net/$1" ]; then return 0; fi
  fail "$set_name" "there is no /sys/class/net/$1"
  return 1
}

# Runs a set of the plan; sets `failed`, and fails when the set was given up. $1: adopt, leave, attach, giveback.
run_set() {
  set_name=$1
  failed=0
  if [ ! -r "$plan/$1.steps" ]; then return 0; fi
  # We are the cause of the link events to come, and do not want to share the processor with who prints them.
  kill -s STOP "$monitor"
  given_up=0
  # shellcheck source=/dev/null
  . "$plan/$1.steps" || given_up=1
  kill -s CONT "$monitor"
  return "$given_up"
}

# ---------------------------------------------------------------- the device

# Sets `plan` and the names of the plan of one side.
use() {
  plan=$dir/$1
  # shellcheck source=/dev/null
  . "$plan/match"
}

# Finds the device by MAC and PCI path; sets `found` (empty: none) and `found_index`.
find_device() {
  found=''
  slot=$root/sys/bus/pci/devices/$match_pci
  is_among "$slot/net/"* "$slot"/virtio*/net/* && return 0
  # names may begin with a dot
  is_among "$slot/net/".[!.]* "$slot/net/"..?* "$slot"/virtio*/net/.[!.]* "$slot"/virtio*/net/..?* && return 0
  found_index=''
}

is_among() {
  for entry; do
    { read -r address <"$entry/address" && read -r found_index <"$entry/ifindex"; } 2>/dev/null || continue
    # one that was claimed may have been given another MAC since
    case " $match_mac " in
      *" $address "*) ;;
      *) [ "$found_index" = "$claimed" ] || continue ;;
    esac
    found=${entry##*/}
    return 0
  done
  return 1
}

is_bond() {
  [ -e "$net/$interface/bonding" ]
}

# Sees what has become of the device; called on every link event.
look() {
  find_device
  if [ -z "$found" ]; then
    if [ -n "$claimed" ]; then
      claimed=
      waiting=
      emit gone
      # the kernel's failover goes over to its standby without a word to the switch
      if [ "$standin" = failover ]; then announce; fi
    fi
  elif [ "$found_index" != "$claimed" ]; then
    if [ "$seen" != "$found_index" ]; then
      seen=$found_index
      escape "$found"
      emit seen "\"dev\":\"$escaped\""
    fi
    attach
  else
    progress
  fi
}

# Gives the device a name that nobody wants. Of two devices that were born with each other's name neither could get its
# own; the other's program, or the end of an interface that goes, makes the name free, and that is a link event.
step_aside() {
  attempt "$ip" link set dev "$found" name "sf$found_index"
  if [ "$code" != 0 ]; then
    attempt "$ip" link set dev "$found" down
    attempt "$ip" link set dev "$found" name "sf$found_index"
  fi
}

# Gives the device its name, and has it down where its settings ask for that. Of a device that is down the renaming
# is only noted in `renaming`, for it to share a process with what comes next.
claim() {
  if [ "$found" != "$device" ] && [ -e "$net/$device" ]; then
    if [ "$stepped_aside" != "$found_index" ]; then
      stepped_aside=$found_index
      step_aside
    elif [ -n "$looked_again" ] && [ "$refused_claim" != "$found_index" ]; then
      refused_claim=$found_index
      fail claim "the name $device is taken by another interface"
    fi
    return 1
  fi
  flags=0
  read -r flags <"$net/$found/flags" || return 1
  current=$device
  if [ "$found" != "$device" ]; then
    if [ $((flags & 1)) = 0 ]; then
      current=$found
      renaming="link set dev $found name $device"
      case $found$device in
        *[!A-Za-z0-9_@%+=:,./-]*) finish_claim || return 1 ;;
      esac
      return 0
    fi
    # the kernel's failover raises its device by itself, and lets it be renamed so
    attempt "$ip" link set dev "$found" name "$device"
    if [ "$code" != 0 ]; then
      attempt "$ip" link set dev "$found" down
      finish_claim || return 1
      return 0
    fi
  elif [ $((flags & 1)) = 1 ] && [ "$standin" = none ]; then
    attempt "$ip" link set dev "$device" down
  fi
  claimed_it
}

# Looks once more in a second: an interface that ends tells so before its name is free.
look_again() {
  if [ -n "$looking_again" ]; then return 0; fi
  looking_again=1
  (
    sleep 1
    echo 'look again' >&3
  ) 5>&- 6>&- 9>&- &
}

claimed_it() {
  escape "$device"
  emit claimed "\"dev\":\"$escaped\""
}

# Renames the device now.
finish_claim() {
  renaming=''
  current=$device
  attempt "$ip" link set dev "$found" name "$device"
  if [ "$code" = 0 ]; then
    claimed_it
    return 0
  fi
  # somebody else may have renamed it meanwhile: that is a link event, and we are called again
  if [ -e "$net/$found" ]; then fail claim "$said"; fi
  return 1
}

# A device that was given its state before is made as a new one where that cannot be given twice: some qdiscs refuse
# to be told again what they are (fq_codel its flows, htb anything).
unqueue() {
  if [ "$standin" != none ] || [ -z "$queues" ] || ! tool tc; then return 0; fi
  for place in root clsact ingress; do
    "$path" qdisc delete dev "$current" "$place" >/dev/null 2>&1
  done
}

attach() {
  waiting=
  if ! claim; then
    look_again
    return 0
  fi
  if [ -n "$again" ]; then
    again=
    unqueue
  fi
  claimed=$found_index
  waiting=1
  replayed=
  traffic=
  carrier=
  linked=
  look_often
  run_set attach
  if [ -n "$renaming" ]; then finish_claim; fi
  if [ ! -e "$net/$device" ]; then
    # udev renamed it under our hands: everything is done again
    claimed=
    waiting=
    again=1
    look_again
    return 0
  fi
  emit replayed "\"failed\":$failed"
  replayed=1
  if [ -z "$waiting" ]; then
    finished
  else
    progress
  fi
}

# Is the new device in use? Tells `carrier`, `active` and `done`, each once.
progress() {
  if [ -z "$waiting" ]; then return 0; fi
  value=0
  { read -r value <"$net/$device/carrier"; } 2>/dev/null
  if [ "$value" != 1 ]; then return 0; fi
  escape "$device"
  if [ -z "$carrier" ]; then
    carrier=1
    emit carrier "\"dev\":\"$escaped\""
    if [ "$standin" != bond ] && [ -n "$traffic" ]; then announce; fi
  fi
  case $standin in
    none) if [ -z "$traffic" ]; then return 0; fi ;;
    bond)
      bond_uses_device || return 0
      if [ -n "$traffic" ]; then announce; fi
      ;;
  esac
  if [ -z "$linked" ]; then
    linked=1
    when_linked linked
  fi
  noted || return 0
  waiting=
  emit active "\"dev\":\"$escaped\""
  if [ -n "$replayed" ]; then finished; fi
}

# A bond looks for links as often as it is told, and each look wakes the guest: often only while a device moves. Where
# delays are counted in looks it is left alone.
look_often() {
  bonding=$net/$interface/bonding
  if [ "$standin" != bond ] || [ -n "$calm" ]; then return 0; fi
  for name in updelay downdelay miimon; do
    value=
    { read -r value <"$bonding/$name"; } 2>/dev/null
    case $name.$value in
      *delay.0) ;;
      miimon.*[!0-9]* | miimon. | *delay.*) return 0 ;;
    esac
  done
  if [ "$value" -le "$OFTEN" ]; then return 0; fi
  if { printf '%s\n' "$OFTEN" >"$bonding/miimon"; } 2>/dev/null; then calm=$value; fi
}

look_seldom() {
  if [ -z "$calm" ]; then return 0; fi
  { printf '%s\n' "$calm" >"$net/$interface/bonding/miimon"; } 2>/dev/null
  calm=
}

# Replayed and active. The guest's network manager gets the interface back, without a word from any host.
finished() {
  look_seldom
  emit 'done'
  if [ -r "$dir.manager/state" ]; then
    # in a session of its own, as it goes on when the program and all of its group are ended
    set -- sh "$dir.manager/manager.sh" "$dir.manager" giveback
    if command -v setsid >/dev/null 2>&1; then set -- setsid "$@"; fi
    "$@" </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 9>&- &
  fi
}

# when_linked linked|noted: what the kernel takes only on an interface with a link, or keeps only then.
when_linked() {
  if [ ! -r "$plan/$1.steps" ]; then return 0; fi
  set_name=attach
  # shellcheck source=/dev/null
  . "$plan/$1.steps"
}

# The kernel notes a link some time after it is there, tells its protocols, and then us; they take some settings back.
# Fails while that is still to come.
noted() {
  if [ ! -r "$plan/noted.steps" ]; then return 0; fi
  state=''
  { read -r state <"$net/$interface/operstate"; } 2>/dev/null
  case $state in
    down | lowerlayerdown) return 1 ;;
  esac
  # it says so a moment before it tells them; who changes a link, as nothing does here, waits for that
  "$ip" link set dev "$interface" up >/dev/null 2>&1
  when_linked noted
}

# The device was taken down and up: everything is there but its link.
await_link() {
  waiting=1
  replayed=
  traffic=1
  carrier=
  linked=
  progress
}

# When the link comes after the addresses: who was asked on the dead link is asked again.
announce() {
  if [ -r "$plan/announce.ip" ]; then "$ip" -force -batch "$plan/announce.ip" >/dev/null 2>&1; fi
}

# Is the bond's traffic on the device? A bond of the user's own may need to be told.
bond_uses_device() {
  if [ ! -e "$net/$interface/lower_$device" ]; then return 1; fi
  mode=''
  active=''
  { read -r mode rest <"$net/$interface/bonding/mode"; } 2>/dev/null
  if [ "$mode" != active-backup ]; then return 0; fi
  { read -r active <"$net/$interface/bonding/active_slave"; } 2>/dev/null
  if [ "$active" = "$device" ]; then return 0; fi
  primary=
  { read -r primary rest <"$net/$interface/bonding/primary"; } 2>/dev/null
  if [ "$primary" = "$device" ]; then return 1; fi # the bond does it by itself, and says so
  { printf '%s\n' "$device" >"$net/$interface/bonding/active_slave"; } 2>/dev/null
  { read -r active <"$net/$interface/bonding/active_slave"; } 2>/dev/null
  [ "$active" = "$device" ]
}

# ---------------------------------------------------------------- commands

# Makes the shadow interface, unless there is one; fails when there is none afterwards.
adopt() {
  failed=0
  if [ ! -r "$plan/adopt.steps" ] || is_bond; then
    emit adopted '"changed":0,"failed":0'
    return 0
  fi
  run_set adopt
  if is_bond; then
    emit adopted "\"changed\":1,\"failed\":$failed"
    if [ -e "$net/$interface/lower_$device" ]; then await_link; fi
    return 0
  fi
  if [ -n "$made" ] && [ -e "$net/$made/bonding" ]; then attempt "$ip" link delete dev "$made"; fi
  fail adopt "$interface did not become a shadow interface"
  return 1
}

leave() {
  use source
  if [ -r "$plan/adopt.steps" ] && ! is_bond; then
    adopt || return 0
  fi
  look_often
  run_set leave || return 0
  if [ "$standin" = bond ] && [ -e "$net/$interface/lower_$device" ]; then
    write 0 "/sys/class/net/$interface/bonding/slaves" "-$device"
  fi
  left=1
  emit left "\"failed\":$failed"
  use destination
}

# The source's device comes back, or has never gone.
rollback() {
  use source
  find_device
  if [ -n "$left" ] && [ -n "$found" ] && [ "$found_index" = "$claimed" ]; then
    if [ "$standin" = none ]; then
      # nothing was taken from it
      waiting=1 replayed=1 traffic=1 carrier=1 linked=1
    else
      claimed=
    fi
  fi
  left=
  look
}

giveback() {
  use source
  if ! is_bond; then
    fail giveback "$interface is not a shadow interface"
  elif run_set giveback; then
    emit givenback "\"failed\":$failed"
    device=$interface
    standin=none
    await_link
  fi
}

obey() {
  waiting_lines=0 # the host is there
  case $1 in
    adopt)
      use source
      adopt
      use destination
      ;;
    leave) leave ;;
    rollback) rollback ;;
    giveback) giveback ;;
    attach)
      claimed=''
      seen=''
      again=1
      look
      ;;
    rescan)
      write 0 /sys/bus/pci/rescan 1
      look
      ;;
    'ping '*)
      case ${1#ping } in
        '' | *[!0-9]* | ??????????*) ;;
        *) emit pong "\"n\":${1#ping }" ;;
      esac
      ;;
    stop)
      look_seldom
      emit stopped
      exit 0
      ;;
  esac
}

# ---------------------------------------------------------------- start, wait, end

# Copies commands from the port to the fifo. While no host is connected the port reads as ended.
read_port() {
  while :; do
    while IFS= read -r said_line <&4; do
      printf '%s\n' "$said_line" >&3
    done
    sleep 1
  done
}

# udev would rename the device after us, if it looked before us: it gets told the same name.
tell_udev() {
  if [ ! -d "$root/run/udev" ]; then return 0; fi
  (umask 022 && mkdir -p "${link_file%/*}") # others keep their files there, and who reads them is not root
  printf '[Match]\nPath=*pci-%s\nMACAddress=%s\n\n[Link]\nNamePolicy=\nName=%s\n' \
    "$match_pci" "$match_mac" "$device" >"$link_file"
}

# All that the program remembers.
reset() {
  ip=''            # path of ip
  monitor=''       # pid of what tells link events
  port='' reply='' # from the configuration
  waiting_lines=0  # told since the host was last heard of
  claimed=''       # index of the device that was dealt with
  seen=''          # index of the last device that was told
  stepped_aside='' # index of the last device that had to wait for its name
  refused_claim='' # index of the last device that could not get its name
  again=''         # the device had the state before
  looking_again='' # a look is on its way
  looked_again=''  # this look is that one: what was in the way had its time
  waiting=''       # not empty: `active` is still to come, and so far there were
  replayed=''      #   all operations,
  traffic=''       #   the addresses and routes,
  carrier=''       #   a link,
  linked=''        #   what is done as soon as there is one
  renaming=''      # arguments of ip that give the device its name, while that is still to be done
  current=''       # name that the device has at this moment
  lines=''         # text of the next batch
  left=''          # traffic was taken from the device
  calm=''          # how often the bond looked for links before it was told otherwise, ms
  set_name=''
  failed=0
  # from the plan
  match_mac='' match_pci='' device='' interface='' standin='' made='' queues=''
}

start() {
  reset
  mkdir -p "$run" || exit 1
  end_earlier
  rm -f "$run"/* "$pids"
  exec 6>"$dir/log.jsonl"
  # The fifos are open both ways, so that neither an end nor a missing reader is ever seen on them.
  mkfifo "$run/in" "$run/out" "$run/life" || exit 1
  exec 3<>"$run/in" 5<>"$run/out" 9<>"$run/life"
  # By `exec`, as a shell keeps copies of what it redirects for a function. It opens what it reads while it is its own
  # writer, so it cannot wait for one.
  (
    exec 3>&- 5>&- 6>&- 8<"$run/life" 9>&-
    keep
  ) &
  note "$!" keeper
  note "$$"
  # shellcheck source=/dev/null
  . "$dir/config"
  if find_tool ip; then ip=$path; fi
  use source
  if [ -z "$ip" ]; then
    fail start 'the guest has no ip (iproute2)'
    exit 1
  fi
  if [ -n "$port" ]; then open_port; fi
  "$ip" -o monitor link >"$run/in" 3>&- 5>&- 6>&- 9>&- &
  monitor=$!
  note "$!"
  if [ -r "$plan/adopt.steps" ] && [ ! -e "$net/bonding_masters" ] && find_tool modprobe; then
    "$path" bonding max_bonds=0 >/dev/null 2>&1 # now, not during the gap; by itself it makes an interface bond0
  fi
  tell_udev
  find_device
  claimed=$found_index
  use destination
  look_again # a device may come before what tells link events listens
}

# The port may be opened once only, so its reader and its writer share what is opened here.
open_port() {
  tries=0
  until (: <>"$port") 2>/dev/null; do
    tries=$((tries + 1))
    if [ "$tries" = 20 ] || [ ! -e "$port" ]; then
      fail port "$port cannot be opened"
      return 0
    fi
    sleep 0.1 || sleep 1 # an earlier program has just been ended and still has it
  done
  exec 4<>"$port"
  config_port=$port
  (
    exec 3>"$run/in" 5>&- 6>&- 9>&-
    read_port
  ) &
  note "$!"
  if [ -n "$reply" ]; then exec 4<>"$reply"; fi
  # A host that does not read blocks this process, not us.
  cat <"$run/out" >&4 3>&- 4>&- 5>&- 6>&- 9>&- 2>/dev/null &
  note "$!"
  printf '%s\n' "$!" >"$run/writer"
  exec 4>&-
}

case ${2-} in
  run) ;;
  end)
    end_earlier
    clean
    exit 0
    ;;
  *)
    echo "program.sh: what is '$2'? There are run and end" >&2
    exit 1
    ;;
esac
start
emit ready "\"pid\":$$"
while read -r event <&3; do
  case $event in
    adopt | leave | rollback | giveback | attach | rescan | stop | 'ping '*) obey "$event" ;;
    'look again')
      looking_again=''
      looked_again=1
      look
      looked_again=''
      ;;
    *) look ;;
  esac
done
