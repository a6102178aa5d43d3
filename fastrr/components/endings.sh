# Seeing how components end. Wants state.sh; tick_s and ticks_a_second, which pause is given.

settled() {
    # On a busy host screen comes to what a program said last when that has long ended.
    tries=5 before=
    while now=$(wc -c <"$1" 2>/dev/null) && [ "$tries" -gt 0 ]; do
        [ "$now" -eq 0 ] || [ "$now" != "$before" ] || break
        before=$now tries=$((tries - 1))
        pause "$tick_s" "$ticks_a_second"
    done
}

ending() {
    if [ -s "$2/exit" ]; then
        read -r status <"$2/exit"
        if [ "$status" != 0 ]; then
            settled "$2/log"
            tail -c "$last_bytes" -- "$2/log" 2>/dev/null | tr -d '\000' | sed "s/^/said $1 /"
            echo
        fi
    fi
    look "$1" "$2"
}

# watch
# Tells of each component of $pending (numbers, whose directories are $d0, $d1, ...) as it ends.
watch() {
    ticks=0
    missed=
    while [ -n "$pending" ]; do
        waiting=
        gone=
        for n in $pending; do
            eval "directory=\$d$n"
            if ending "$n" "$directory"; then
                :
            elif alive "$directory"; then
                waiting="$waiting $n"
            else
                case " $missed " in
                *" $n "*) echo "vanished $n" ;;
                *) waiting="$waiting $n" gone="$gone $n" ;;
                esac
            fi
        done
        pending=$waiting
        missed=$gone
        [ -n "$pending" ] || break
        # Writing is how a script notices that nobody listens any more.
        if [ "$ticks" -ge 20 ]; then
            ticks=0
            echo beat
        fi
        pause "$tick_s" "$ticks_a_second"
    done
}
