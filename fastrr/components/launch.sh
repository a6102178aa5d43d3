# Starting components. Wants own.sh, state.sh; tick_s and ticks_a_second, which pause is given.

private() {
    # A directory with all that it is in: what had to be made, and what nobody else has made.
    path='' rest=${1#/}
    while [ -n "$rest" ]; do
        path=$path/${rest%%/*} rest=${rest#*/}
        if [ ! -d "$path" ]; then
            said=$(mkdir -m 700 -- "$path" 2>&1) && continue
            [ -d "$path" ] || {
                echo "the directory for the state of components can't be made: $said" >&2
                exit 1
            }
        fi
        own "$path" || {
            echo "it is not this account's, nor root's: $(ls -ld -- "$path" 2>&1)" >&2
            exit 1
        }
    done
}

unwritten() {
    echo "the state of components can't be written to $1; df says: $(df -Pk . | tail -n 1)" >&2
    exit 1
}

started() {
    look "$1" "$2" && return
    [ -s "$2/pid" ] || return
    read -r process <"$2/pid"
    # Once the pid is written, exec is all that is left to do. What never changes its command line
    # is taken as started, too, after two seconds.
    eval "since=\${since$1:=$ticks}"
    if [ -d /proc/self ] && [ $((ticks - since)) -lt "$settled" ]; then
        line=
        IFS= read -r line 2>/dev/null <"/proc/$process/cmdline"
        case $line in
        '' | *"$2/launch.sh"*) return 1 ;;
        esac
        # Shells read it byte by byte: of a process that ends meanwhile only the first part is seen.
        again=
        IFS= read -r again 2>/dev/null <"/proc/$process/cmdline"
        [ "$again" = "$line" ] || return 1
    fi
    echo "started $1 $process"
}

# await_started
# Tells of each component of $pending (numbers, whose directories are $d0, $d1, ...) as it has been
# started or has failed, for $limit ticks; then which session it is. $settled: see started.
await_started() {
    ticks=0
    while [ -n "$pending" ]; do
        waiting=
        for n in $pending; do
            eval "directory=\$d$n"
            started "$n" "$directory" || waiting="$waiting $n"
        done
        pending=$waiting
        if [ -n "$pending" ]; then
            [ "$ticks" -lt "$limit" ] || break
            pause "$tick_s" "$ticks_a_second"
        fi
    done
    for n in $all; do
        eval "directory=\$d$n"
        if [ -s "$directory/session" ]; then
            read -r session <"$directory/session"
            echo "session $session"
            break
        fi
    done
}

# begin DIRECTORY SESSION
# Enters the session's directory; $running is the session, if it still runs.
begin() {
    cd "$1" || exit 1
    running=$2
    [ -n "$running" ] && running "${running%%.*}" || running=
    soft_limit=$(ulimit -Sn)
}

# make_directories LOGS NAME...
# Moves the state of earlier runs aside, and makes directories and links for this one.
make_directories() {
    logs=$1
    shift
    move_aside "$@"
    if [ -d "$logs" ]; then
        mkdir -m 700 -- "$@" || exit 1
    else
        mkdir -m 700 -- "$@" "$logs" || exit 1
    fi
    for name; do
        shift
        set -- "$@" "../$name"
    done
    ln -sf -- "$@" "$logs" || exit 1
}

move_aside() {
    for name; do
        shift
        [ ! -e "$name" ] || set -- "$@" "$name"
    done
    stale=$#
    if [ -z "$running" ]; then
        for path in .logs-* .run-*; do
            [ ! -e "$path" ] || stale=all
        done
    fi
    case $stale in
    0) ;;
    all) (cd .previous && forget "$@" ../.logs-* ../.run-*) ;;
    *) (cd .previous && forget "$@") ;;
    esac
    [ "$#" -gt 0 ] || return 0
    mv -f -- "$@" .previous || exit 1
    for path; do
        set -- "$@" "../.previous/$path"
        shift
    done
    for path in .logs-*; do
        [ "$path" = "$logs" ] || [ ! -d "$path" ] || ln -sf -- "$@" "$path"
    done
}

forget() {
    # Screen may just be opening the log of a window that goes on: not twice within a second.
    rm -rf -- "$@" 2>/dev/null || rm -rf -- "$@"
}

# write_run_file PATH CONTENT
# Writes what a run's launchers share, once a run: they may be reading it.
write_run_file() {
    [ ! -e "$1" ] || return 0
    printf 'fastrr_soft_limit=%s\n' "$soft_limit" >"$1"
    printf %s "$2" >>"$1" || unwritten "$1"
}

# write_launcher DIRECTORY RUN CONTENT [ARGS]
write_launcher() {
    echo "$2" >"$1/run" || unwritten "$1"
    printf %s "$3" >"$1/launch.sh" || unwritten "$1"
    [ "$#" -lt 4 ] || printf %s "$4" >"$1/args.sh" || unwritten "$1"
}
