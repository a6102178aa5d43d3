# Ending sessions. Wants state.sh.

patience() {
    [ "$ticks" -lt 500 ] && pause 0.02 50
}

end_session() {
    if ! running "${1%%.*}"; then
        screen -wipe "$1" >/dev/null 2>&1
        return 0
    fi
    if ! said=$(screen -S "$1" -X quit 2>&1); then
        # Nobody answers: a dead session, whose process id is another's by now.
        screen -wipe "$1" >/dev/null 2>&1
        case $(LC_ALL=C screen -ls 2>&1) in
        *"	$1	"*) ;;
        *) return 0 ;;
        esac
    fi
    while running "${1%%.*}"; do
        if ! patience; then
            printf 'alive %s %s\n' "$1" "$said" | tr '\n' ' '
            echo
            return 0
        fi
    done
}

await_programs() {
    for directory in "$2"/*; do
        [ -s "$directory/session" ] || continue
        read -r session <"$directory/session"
        [ "$session" = "$1" ] || continue
        while alive "$directory"; do
            if ! patience; then
                read -r process <"$directory/pid"
                printf 'program %s %s\n' "$process" "${directory##*/}"
                break
            fi
        done
    done
}
