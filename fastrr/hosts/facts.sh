# What a host is: account, directories, tools. fastrr_see comes before it (machine.py).

# facts TOOL...
# Sets home, node, uid, state, tmp, screens, newline. Exports LC_ALL, and TMPDIR,
# which is another where it can be exchanged.
# Prints lines "KEY VALUE", and "tool NAME PATH" (no path: it is not there).
facts() {
    cd 2>/dev/null || cd /
    home=$PWD
    node=${fastrr_node:-$(uname -n)} uid=${fastrr_uid:-$(id -u)}
    state=${XDG_STATE_HOME:-$HOME/.local/state}/fastrr/$node tmp=${TMPDIR:-/tmp}
    screens=${SCREENDIR-}
    case $state in
    /*) ;;
    *) state=$home/$state ;;
    esac
    case $tmp in
    /*) ;;
    *) tmp=$home/$tmp ;;
    esac
    if [ -n "${TMPDIR-}" ]; then
        # Whose it is, is yet to be judged (ways.py): bash has its here-documents there.
        export TMPDIR="$home"
        if is_private "$tmp"; then
            export TMPDIR="$tmp"
        fi
    fi
    printf '%s\n' "home $home" "node $node" "uid $uid" "state $state" "tmp $tmp"
    printf '%s\n' "screendir $screens" "boot $fastrr_boot" "start $fastrr_start"
    if [ -r /etc/machine-id ]; then
        read -r machine </etc/machine-id
        echo "machine $machine"
    fi
    for tool; do
        printf 'tool %s ' "$tool"
        command -v "$tool" || echo
    done
    newline='
'
    export LC_ALL=C
}

# is_private DIRECTORY
# Nobody else can exchange what is in it: neither who may write to it or to one that it is in nor, be
# those sticky, who owns them. No link leads there.
is_private() {
    path=${1%/}
    set --
    while [ -n "$path" ]; do
        set -- "$@" "$path"
        path=${path%/*}
    done
    ls -ldn -- "$@" / 2>/dev/null | while read -r mode links owner rest; do
        case $mode in
        d???????[!w]* | d????????[tT]*) [ "$owner" = 0 ] || [ "$owner" = "$uid" ] || exit 1 ;;
        *) exit 1 ;;
        esac
    done
}

# look DIRECTORY
# Prints where it is to be made: the length of its nearest parent's path (in bytes) that exists,
# itself perhaps, after "good", "file" (that is no directory) or "denied". Sets p and kind.
look() {
    p=$1
    while [ ! -e "$p" ] && [ ! -L "$p" ]; do
        p=${p%/*}
        [ -n "$p" ] || p=/
    done
    if [ ! -d "$p" ]; then
        kind="file"
    elif [ ! -w "$p" ] || [ ! -x "$p" ]; then
        kind=denied
    else
        kind=good
    fi
    echo "$kind ${#p}"
}

# Of many names, each that a line of standard input has: each_word where all of them are plain,
# since blanks, quotes and backslashes mean something to xargs (POSIX, XCU), else each_line.
each_word() {
    xargs "$@"
}

each_line() {
    tr '\n' '\0' | xargs -0 "$@"
}
