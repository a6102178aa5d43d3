# What launchers of a run share. Each launch.sh sources it, which sets fastrr_run, _state, _base_dir,
# _program and fastrr_component, and then calls fastrr_launch; fastrr_soft_limit stands before it.
# Every name has a prefix: the program inherits the variables of the environment, whatever they are
# called, as they are.

fastrr_record() {
    read -r fastrr_current <"$fastrr_state/run" && [ "$fastrr_current" = "$fastrr_run" ] &&
        printf '%s\n' "$2" >"$fastrr_state/$1"
}

fastrr_fail() {
    printf 'fastrr: %s\n' "$1" >&2
    fastrr_record failed "$1"
    exit 126
}

fastrr_read() {
    fastrr_newline='
'
    while IFS= read -r fastrr_line; do
        fastrr_value=$fastrr_value$fastrr_line$fastrr_newline
    done
}

fastrr_unfit() {
    fastrr_fail "$fastrr_program could not be executed: no such interpreter, not a format of \
this machine, or arguments too long for it (Linux takes 128 KiB each)"
}

fastrr_become() {
    trap fastrr_unfit EXIT
    if [ -n "$BASH_VERSION" ]; then
        # shellcheck disable=SC3044
        shopt -s execfail
        # A script without #! bash would read itself, and go on looking like this launcher.
        fastrr_line='#!'
        [ ! -r "$1" ] || IFS= read -r fastrr_line <"$1"
        case $fastrr_line in
        '#!'* | *[![:print:][:blank:]]*) ;;
        *) set -- "$BASH" "$@" ;;
        esac
    fi
    echo "$fastrr_pid" >"$fastrr_state/pid"
    exec "$@"
    exit 126
}

fastrr_launch() {
    if [ "$1" = become ]; then
        echo "$PPID" >"$fastrr_state/launcher"
        fastrr_pid=$$
        fastrr_component
    fi
    [ -z "$fastrr_soft_limit" ] || ulimit -Sn "$fastrr_soft_limit" 2>/dev/null
    echo "$STY" >"$fastrr_state/session"
    cd -- "$fastrr_base_dir" 2>/dev/null || fastrr_fail "its base_dir $fastrr_base_dir can't be entered"
    [ -e "$fastrr_program" ] || fastrr_fail "$fastrr_program does not exist"
    [ -f "$fastrr_program" ] || fastrr_fail "$fastrr_program is no file"
    [ -x "$fastrr_program" ] || fastrr_fail "$fastrr_program may not be executed: its permissions are \
$(ls -ld -- "$fastrr_program" | cut -c 1-10)"
    # This shell leads the window's session: when screen hangs up it must die, for only then does the
    # kernel send SIGHUP to the program (exit(3), "If the process is a session leader"). The subshell
    # outlives whatever ends the program, to record how it ended.
    trap : INT QUIT
    (
        trap : HUP INT QUIT TERM
        # A subshell can become the program if it knows its process id, which $$ is not, but who opens
        # /proc/self sees; and if it runs its trap when exec fails, which one of bash does not.
        if [ -z "$BASH_VERSION" ] && read -r fastrr_pid fastrr_rest 2>/dev/null </proc/self/stat; then
            echo "$fastrr_pid" >"$fastrr_state/launcher"
            (read -r fastrr_pid fastrr_rest </proc/self/stat && fastrr_component)
        else
            sh "$fastrr_state/launch.sh" become
        fi
        fastrr_status=$?
        [ ! -s "$fastrr_state/failed" ] || exit "$fastrr_status"
        [ -s "$fastrr_state/pid" ] ||
            fastrr_fail "its args can't be expanded (exit status $fastrr_status): see its log"
        fastrr_record exit "$fastrr_status"
        exit "$fastrr_status"
    )
    exit
}
