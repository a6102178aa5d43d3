# What is asked of GNU screen. Wants facts.sh and the variables that facts sets.

# sessions
# Prints what screen says of the account's sessions; where it keeps their sockets, which sets
# $screens, too; where the state of components is to be made; what becomes of them at logout.
sessions() {
    echo "== sessions"
    if command -v screen >/dev/null; then
        said=$(LC_ALL=C screen -ls 2>&1)
        printf '%s\n' "$said"
        case $said in
        *" in /"*)
            screens=/${said##* in /}
            screens=${screens%%"$newline"*}
            screens=${screens%.}
            ;;
        esac
    fi
    printf '%s\n' "== sockets" "$screens" "== state"
    look "$state"
    echo "== logind"
    if command -v loginctl >/dev/null; then
        loginctl show-session -p KillUserProcesses 2>/dev/null
    fi
    true
}
