# Opening windows of GNU screen. Wants launch.sh, and what its begin sets.

# open_windows WAY NAME FILE QUOTED_FILE COMMANDS MAX_WINDOWS MAX_OPEN_FILES
# In the session $running, or in a new one of this name, which is started by plainly or in_scope;
# COMMANDS are for FILE, whose name screen is told as a word of its own language.
open_windows() {
    if [ "$soft_limit" = unlimited ] || [ "$soft_limit" -gt "$7" ]; then
        ulimit -Sn "$7"
    fi
    unset STY WINDOW
    failed=
    if [ -n "$running" ]; then
        printf %s "$5" >"$3" || unwritten "$PWD"
        said=$(screen -S "$running" -X source "$4" 2>&1) || failed=$?
    else
        user_file=${SCREENRC:-$HOME/.screenrc}
        {
            echo "maxwin $6"
            [ ! -r "$user_file" ] || printf 'source "%s"\n' "$user_file"
            printf %s "$5"
        } >"$3" || unwritten "$PWD"
        said=$("$1" screen -c "$3" -dmS "$2" 2>&1) || failed=$?
    fi
    if [ -n "$failed" ]; then
        printf 'screen failed: exit status %s: %s\n' "$failed" "$said" | tr '\n' ' '
        exit 1
    fi
}

plainly() {
    "$@"
}

# A systemd scope of its own, which logind does not end at logout.
in_scope() {
    systemd-run --user --scope --quiet --collect "$@"
}
