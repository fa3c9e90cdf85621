# shellcheck shell=sh
# What a replay sets on queues, interrupts and sizes, where what is right depends on the device that is there: how many
# queues it has, how large its rings may be. Read by program.sh, whose functions and variables it uses.
#
# shellcheck disable=SC2154 # ip, net, root, path, said, code, renaming: of program.sh

# Runs one call of a tool that takes its words together: tune_call ID TOOL ARGUMENT…
tune_call() {
  if [ -n "$renaming" ]; then finish_claim; fi
  tune_id=$1
  tune_name=$2
  shift 2
  if ! tool "$tune_name"; then
    failed_op "$tune_id" 127 "$said"
    return 0
  fi
  attempt "$path" "$@"
  if [ "$code" != 0 ]; then failed_op "$tune_id" "$code" "$said"; fi
}

# Sets `count` to the number of queues of one direction: queues_of DEV rx|tx.
queues_of() {
  count=0
  while [ -e "$net/$1/queues/$2-$count" ]; do count=$((count + 1)); done
}

# Sets `limit` to the largest value that the device says it takes; empty when it says none. $limits: what ethtool said.
limit_of() {
  limit=
  case $1 in
    rx) title=RX ;;
    tx) title=TX ;;
    rx-mini) title='RX Mini' ;;
    rx-jumbo) title='RX Jumbo' ;;
    other) title=Other ;;
    combined) title=Combined ;;
    *) return 0 ;;
  esac
  while IFS= read -r line; do
    case $line in
      Current*) return 0 ;;
      "$title:"*)
        limit=${line##*[!0-9]}
        return 0
        ;;
    esac
  done <<LIMITS
$limits
LIMITS
}

# Sets `least` to the smaller one of a wish and `limit`.
within_limit() {
  least=$1
  case $least$limit in
    *[!0-9]*) ;;
    *) if [ -n "$limit" ] && [ "$least" -gt "$limit" ]; then least=$limit; fi ;;
  esac
}

# tune_fit ID -G|-L DEV NAME VALUE…: rings or channels. What the device has no room for becomes what it has room for.
tune_fit() {
  if [ -n "$renaming" ]; then finish_claim; fi
  tune_id=$1
  option=$2
  dev=$3
  shift 3
  if ! tool ethtool; then
    failed_op "$tune_id" 127 "$said"
    return 0
  fi
  attempt "$path" "$option" "$dev" "$@"
  if [ "$code" = 0 ]; then return 0; fi
  case $said in
    *'Operation not supported'*)
      failed_op "$tune_id" "$code" "$said"
      return 0
      ;;
  esac
  case $option in
    -G) limits=$("$path" -g "$dev" 2>/dev/null) ;;
    *) limits=$("$path" -l "$dev" 2>/dev/null) ;;
  esac
  refused=
  while [ $# -ge 2 ]; do
    limit_of "$1"
    if [ "$1" = combined ] && [ "${limit:-0}" = 0 ]; then
      # a device whose channels have one direction each
      limit_of rx
      within_limit "$2"
      set_rx=$least
      limit_of tx
      within_limit "$2"
      attempt "$path" "$option" "$dev" rx "$set_rx" tx "$least"
    else
      within_limit "$2"
      attempt "$path" "$option" "$dev" "$1" "$least"
    fi
    if [ "$code" != 0 ]; then
      refused="$refused${refused:+; }$1: $said"
      last=$code
    fi
    shift 2
  done
  if [ -n "$refused" ]; then failed_op "$tune_id" "$last" "$refused"; fi
}

# Sets `united` to the union of two masks of the same length.
unite() {
  if [ -z "$1" ]; then
    united=$2
    return 0
  fi
  left=$1
  right=$2
  united=
  while [ -n "$left" ]; do
    more=${left#?}
    digit=${left%"$more"}
    left=$more
    more=${right#?}
    other=${right%"$more"}
    right=$more
    case $digit in
      ,) united=$united, ;;
      *)
        case $((0x$digit | 0x$other)) in
          10) united=${united}a ;;
          11) united=${united}b ;;
          12) united=${united}c ;;
          13) united=${united}d ;;
          14) united=${united}e ;;
          15) united=${united}f ;;
          *) united=$united$((0x$digit | 0x$other)) ;;
        esac
        ;;
    esac
  done
}

# Sets `folded` to the value for queue K of N, from those of the queues that there were: fold K N unite|add|largest VALUE…
# Queues that there are no more give theirs to those that there are; further queues repeat the pattern, if there was one.
fold() {
  queue=$1
  queues=$2
  how=$3
  shift 3
  folded=
  if [ $# = 0 ]; then return 0; fi
  if [ $# -le "$queue" ]; then
    for value; do if [ "$value" = - ]; then return 0; fi; done
    shift $((queue % $#))
    folded=$1
    return 0
  fi
  at=0
  for value; do
    if [ $((at % queues)) = "$queue" ] && [ "$value" != - ]; then
      case $how in
        unite)
          unite "$folded" "$value"
          folded=$united
          ;;
        add) folded=$((${folded:-0} + value)) ;;
        *) if [ -z "$folded" ] || [ "$value" -gt "$folded" ]; then folded=$value; fi ;;
      esac
    fi
    at=$((at + 1))
  done
}

# tune_queue ID DEV rx|tx FILE unite|add|largest VALUE…: one value for each queue that there was, - for none.
tune_queue() {
  if [ -n "$renaming" ]; then finish_claim; fi
  tune_id=$1
  dev=$2
  direction=$3
  file=$4
  folding=$5
  shift 5
  queues_of "$dev" "$direction"
  number=0
  refused=
  while [ "$number" -lt "$count" ]; do
    fold "$number" "$count" "$folding" "$@"
    if [ -n "$folded" ]; then
      put "/sys/class/net/$dev/queues/$direction-$number/$file" "$folded"
    fi
    number=$((number + 1))
  done
  if [ -n "$refused" ]; then failed_op "$tune_id" 1 "$refused"; fi
}

# Writes a value into a file; what the kernel says against it goes to `refused`.
put() {
  if { printf '%s' "$2" >"$root$1"; } 2>/dev/null; then return 0; fi
  if { printf '%s' "$2" >"$root$1"; } 2>"$run/err"; then return 0; fi
  read_errors
  refused="$refused${refused:+; }${1##*/queues/} does not take $2: $said"
}

# tune_spread ID DEV equal [N] | weight W… | counts C…: how flows are spread over the receive queues.
tune_spread() {
  tune_id=$1
  dev=$2
  kind=$3
  shift 3
  queues_of "$dev" rx
  if [ "$count" = 0 ]; then count=1; fi
  if [ "$kind" = equal ]; then
    if [ $# = 0 ] || [ "$1" -gt "$count" ]; then set -- "$count"; fi
    tune_call "$tune_id" ethtool -X "$dev" equal "$1"
    return 0
  fi
  if [ $# -gt "$count" ]; then
    number=0
    weights=
    while [ "$number" -lt "$count" ]; do
      fold "$number" "$count" add "$@"
      weights="$weights $folded"
      number=$((number + 1))
    done
    # shellcheck disable=SC2086 # numbers, to be split
    set -- $weights
  fi
  tune_call "$tune_id" ethtool -X "$dev" weight "$@"
}

# tune_key ID DEV KEY: of another length on another device, where it is cut or repeated.
tune_key() {
  tune_id=$1
  dev=$2
  bytes=$3
  if ! tool ethtool; then
    failed_op "$tune_id" 127 "$said"
    return 0
  fi
  attempt "$path" -X "$dev" hkey "$bytes"
  if [ "$code" = 0 ]; then return 0; fi
  complaint=$said
  now=
  while IFS= read -r line; do
    case $line in
      ??:??:??:*) now=$line ;;
    esac
  done <<KEY
$("$path" -x "$dev" 2>/dev/null)
KEY
  if [ -z "$now" ] || [ "${#now}" = "${#bytes}" ]; then
    failed_op "$tune_id" "$code" "$complaint"
    return 0
  fi
  while [ "${#bytes}" -lt "${#now}" ]; do bytes=$bytes:$bytes; done
  while [ "${#bytes}" -gt "${#now}" ]; do bytes=${bytes%:*}; done
  tune_call "$tune_id" ethtool -X "$dev" hkey "$bytes"
}

# tune_rule ID DEV flow-type … action QUEUE loc N: a queue that is not there becomes one that is.
tune_rule() {
  tune_id=$1
  dev=$2
  shift 2
  queues_of "$dev" rx
  before=
  words=
  for word; do
    if [ "$before" = action ] && [ "$count" -gt 0 ] && [ "$word" -ge "$count" ]; then word=$((word % count)); fi
    before=$word
    words="$words $word"
  done
  # shellcheck disable=SC2086 # words of the plan without blanks
  tune_call "$tune_id" ethtool -U "$dev" $words
}

# Sets `role` to what a vector is for, by what the driver calls it: role_of ACTION DEV.
role_of() {
  case ${1#"$2"} in
    *[Tt][Xx]-[Rr][Xx]* | *[Tt][Xx][Rr][Xx]* | *[Rr][Xx]-[Tt][Xx]* | *[Rr][Xx][Tt][Xx]*) role=both ;;
    *[Cc]omb* | *[Cc]omp* | *[Qq]ueue*) role=both ;;
    *[Rr][Xx]* | *input*) role=rx ;;
    *[Tt][Xx]* | *output*) role=tx ;;
    *) role=other ;;
  esac
}

# Sets `vectors_found` to NUMBER:ROLE of each vector of a device, in the order of their numbers.
find_vectors() {
  vectors_found=
  slot=$root/sys/bus/pci/devices/$1
  many=0
  # by length, as 10 comes after 9
  for entry in "$slot"/msi_irqs/? "$slot"/msi_irqs/?? "$slot"/msi_irqs/??? "$slot"/msi_irqs/????; do
    if [ -e "$entry" ]; then
      one_vector "${entry##*/}" "$2"
      many=$((many + 1))
    fi
  done
  if [ "$many" = 0 ]; then
    number=
    { read -r number <"$slot/irq"; } 2>/dev/null
    if [ -n "$number" ]; then vectors_found=" $number:all"; fi
  elif [ "$many" = 1 ] && [ -n "$vectors_found" ]; then
    vectors_found="${vectors_found%:*}:all"
  fi
}

one_vector() {
  for action in "$root/proc/irq/$1"/*/; do
    if [ -d "$action" ]; then
      action=${action%/}
      role_of "${action##*/}" "$2"
      vectors_found="$vectors_found $1:$role"
      return 0
    fi
  done
}

# Sets `count` to the number of vectors of one role.
vectors_of() {
  count=0
  for entry in $vectors_found; do
    if [ "${entry#*:}" = "$1" ]; then count=$((count + 1)); fi
  done
}

# tune_vectors ID DEV PCIPATH [rx MASK…] [tx MASK…] [other MASK…]: where the interrupts of each direction's queues go.
tune_vectors() {
  tune_id=$1
  dev=$2
  find_vectors "$3" "$dev"
  shift 3
  rx=
  tx=
  others=
  list=
  for word; do
    case $word in
      rx | tx | other) list=$word ;;
      *)
        case $list in
          rx) rx="$rx $word" ;;
          tx) tx="$tx $word" ;;
          *) others="$others $word" ;;
        esac
        ;;
    esac
  done
  refused=
  for kind in all both rx tx other; do
    vectors_of "$kind"
    number=0
    for entry in $vectors_found; do
      if [ "${entry#*:}" != "$kind" ]; then continue; fi
      if [ "$kind" = both ]; then
        # shellcheck disable=SC2086 # masks, to be split
        fold "$number" "$count" unite $rx
        of_rx=$folded
        # shellcheck disable=SC2086
        fold "$number" "$count" unite $tx
        if [ -n "$of_rx" ] && [ -n "$folded" ]; then
          unite "$of_rx" "$folded"
          folded=$united
        else
          folded=$of_rx$folded
        fi
      else
        case $kind in
          all) masks=$rx$tx ;;
          rx) masks=$rx ;;
          tx) masks=$tx ;;
          *) masks=$others ;;
        esac
        # shellcheck disable=SC2086
        fold "$number" "$count" unite $masks
      fi
      if [ -n "$folded" ]; then put "/proc/irq/${entry%%:*}/smp_affinity" "$folded"; fi
      number=$((number + 1))
    done
  done
  if [ -n "$refused" ]; then failed_op "$tune_id" 1 "$refused"; fi
}

# tune_learn ID MAC PCIPATH: how the device is before anything is set on it, for the host to fetch later.
tune_learn() {
  sh "$dir/capture.sh" "$2" "$3" >"$dir/fresh" 2>/dev/null </dev/null || failed_op "$1" "$?" 'capture.sh failed'
}

# tune_mtu ID DEV INTERFACE MTU [fits]: where the device takes less, so does the interface above it. `fits`: it is known
# that it takes so much.
tune_mtu() {
  if [ -n "$renaming" ]; then finish_claim; fi
  wanted=$4
  if [ "${5-}" != fits ]; then
    attempt "$ip" link set dev "$2" mtu "$wanted"
    if [ "$code" != 0 ]; then
      complaint=$said
      device_limit "$2"
      if [ "$limit" -ge "$wanted" ]; then
        failed_op "$1" 1 "$complaint"
        return 0
      fi
      wanted=$limit
      attempt "$ip" link set dev "$2" mtu "$wanted"
      if [ "$code" != 0 ]; then
        failed_op "$1" "$code" "$said"
        return 0
      fi
    fi
  fi
  if [ "$2" = "$3" ]; then return 0; fi
  now=
  { read -r now <"$net/$3/mtu"; } 2>/dev/null
  if [ "$now" = "$wanted" ]; then return 0; fi
  attempt "$ip" link set dev "$3" mtu "$wanted"
  if [ "$code" != 0 ]; then failed_op "$1" "$code" "$said"; fi
}

# Sets `limit` to the largest MTU that a device takes.
device_limit() {
  limit=
  word_before=
  for word in $("$ip" -d link show dev "$1" 2>/dev/null); do
    if [ "$word_before" = maxmtu ]; then limit=$word; fi
    word_before=$word
  done
  case $limit in
    '' | *[!0-9]*) limit=1500 ;;
  esac
}
