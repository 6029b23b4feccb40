# The guard of a freeze, which bash runs on the guest's node in a unit or session of its own: it
# freezes, tells the answer, waits for the word to thaw, and thaws until the agent says that the
# guest is thawed. What a restore point is worth is not for it to say: it only reports.
#
#   MODE VMID SECONDS NODE ETC_PVE DIRECTORY
#
# MODE freeze: SECONDS are how long the guest may stay frozen after the agent's answer.
# MODE thaw: it freezes nothing; SECONDS are how long somebody else's freeze may go on.
# It hears words on its standard input: `freeze`, and any word after that means thaw, as does the
# end of the input: then whoever froze is gone. It says on its standard output:
#   busy                  another guard works on this guest; nothing was done
#   ready                 it waits for `freeze`; or begins to thaw
#   frozen COUNT          the agent has frozen so many file systems
#   not frozen TEXT       what came of the freeze is not known, and it is thawed
#   thaw COUNT WHY        the first thaw that was answered; WHY is asked, late, alone or other
#   no thaw TEXT          a thaw was not answered; it goes on
#   thawed                the agent says so; the end
#   stopped, gone         the guest does not run, or is in no configuration any more; the end
#   given up              after a day; the end
#
# systemd expands a dollar sign before a brace and takes one of two dollar signs away: neither
# stands here.

# Whoever started it may go; it stays. A node that goes down lets it thaw at once.
trap '' HUP INT PIPE
trap 'seconds=0' TERM
export LC_ALL=C
mode=$1 vmid=$2 seconds=$3 node=$4 etc=$5 directory=$6
home=$node answer='' errors=$directory/guard-$vmid.errors why=other

say() { printf '%s\n' "$*" 2>/dev/null || :; }
is_count() { case $answer in '' | *[!0-9]*) return 1 ;; esac; }

# What was answered instead of what was expected, in one line.
told() { printf '%s %s' "$answer" "$(cat "$errors")" 2>/dev/null | tr -s '[:space:]' ' ' | cut -c -1000; }

# Asks the agent, within so many seconds, on the node where the guest is by now.
ask() {
    if [ "$home" = "$node" ]; then
        answer=$(timeout -k 5 "$2" qm guest cmd "$vmid" "$1" 2>"$errors" </dev/null)
    else
        answer=$(timeout -k 5 "$2" pvesh create "/nodes/$home/qemu/$vmid/agent/$1" --output-format json \
            2>"$errors" </dev/null | sed 's/^{"result":"\{0,1\}\([0-9a-z]*\)"\{0,1\}}$/\1/')
    fi
}

# Where the guest's configuration is. The cluster's files may hang, or be away.
find_home() {
    local found
    found=$(timeout -k 2 10 find "$etc/nodes" -mindepth 3 -maxdepth 3 -path "*/qemu-server/$vmid.conf" 2>/dev/null) ||
        return 1
    case $found in
        '') home='' ;;
        *) home=$(basename "$(dirname "$(dirname "$found")")") ;;
    esac
}

is_stopped() {
    if [ "$home" = "$node" ]; then
        [ "$(timeout -k 5 30 qm status "$vmid" 2>/dev/null </dev/null)" = 'status: stopped' ]
    else
        timeout -k 5 30 pvesh get "/nodes/$home/qemu/$vmid/status/current" --output-format json \
            2>/dev/null </dev/null | grep -q '"status": *"stopped"'
    fi
}

# Whether there is nothing left to thaw. A configuration that is on its way to another node may not
# be seen for a moment.
is_over() {
    find_home || return 1
    if [ "$home" = '' ]; then
        sleep 2
        find_home || { home=$node; return 1; }
        [ "$home" != '' ] || { say gone; return 0; }
    fi
    is_stopped && say stopped
}

thaw() {
    local pause=1 waited=0 answered=''
    while :; do
        # A guest on Windows, or with hooks, may take PVE's three minutes.
        ask fsfreeze-thaw 200
        if ! is_count; then
            say "no thaw $(told)"
        elif [ "$answered" = '' ]; then
            say "thaw $answer $why"
            answered=yes
        fi
        ask fsfreeze-status 30
        case $answer in
            thawed) break ;;
            frozen) ;;
            *) is_over && return ;;
        esac
        if [ "$waited" -ge 86400 ]; then
            say given up
            logger -t pve-ferry "guest $vmid was not seen thawed for a day; nobody tries any more" 2>/dev/null
            return
        fi
        sleep "$pause"
        waited=$((waited + pause))
        [ "$pause" -ge 30 ] || pause=$((pause * 2))
    done
    [ "$waited" -eq 0 ] || logger -t pve-ferry "guest $vmid is thawed at last" 2>/dev/null
    say thawed
}

# One guard at a time: its lock is held, too, by a freeze that outlives it.
mkdir -p "$directory" && exec 9>>"$directory/guard-$vmid.lock" || exit 1
flock -w 40 9 || { say busy; exit 0; }
say ready
if [ "$mode" = freeze ]; then
    # Without its parent it freezes nothing, also when the parent died right after the word.
    read -r -t 60 word && [ "$word" = freeze ] || exit 0
    read -r -t 0.05 word
    [ $? -gt 128 ] || exit 0
    # Not killed, ever: the agent would go on, and freeze a guest that nobody thaws. PVE waits an hour.
    answer=$(qm guest cmd "$vmid" fsfreeze-freeze 2>"$errors" </dev/null)
    if is_count; then
        say "frozen $answer"
        read -r -t "$seconds" word
        case $? in
            0) why=asked ;;
            1) why=alone ;;
            *) why=late ;;
        esac
    else
        say "not frozen $(told)"
    fi
else
    while [ "$seconds" -gt 0 ] && ask fsfreeze-status 30 && [ "$answer" = frozen ]; do
        sleep 1
        seconds=$((seconds - 1))
    done
fi
thaw
