# The state of components, which state.py describes.

look() {
    if [ -s "$2/failed" ]; then
        IFS= read -r said <"$2/failed"
        printf 'failed %s %s\n' "$1" "$said"
    elif [ -s "$2/exit" ]; then
        read -r said <"$2/exit"
        echo "ended $1 $said"
    else
        return 1
    fi
}

alive() {
    [ -s "$1/launcher" ] || return
    read -r process <"$1/launcher"
    if [ -d /proc/self ]; then
        line=
        IFS= read -r line 2>/dev/null <"/proc/$process/cmdline"
        case $line in
        *"$1/launch.sh"*) ;;
        *) return 1 ;;
        esac
    else
        running "$process"
    fi
}

running() {
    kill -0 "$1" 2>/dev/null || return 1
    # A process that has ended but was not waited for yet is gone, too.
    if IFS= read -r line 2>/dev/null <"/proc/$1/stat"; then
        case $line in
        *") Z "*) return 1 ;;
        esac
    fi
}

pause() {
    if sleep "$1" 2>/dev/null; then
        ticks=$((ticks + 1))
    else
        sleep 1
        ticks=$((ticks + $2))
    fi
}
