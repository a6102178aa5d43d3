# What is on the ways to paths.

# way PATH
# Collects in $ways, a line each, an absolute path and all directories that it is in. Wants newline.
way() {
    case $1 in
    /*) way=${1%/} ;;
    *) return ;;
    esac
    while [ -n "$way" ]; do
        case $newline$ways in
        *"$newline$way$newline"*) return ;;
        esac
        ways=$ways$way$newline
        way=${way%/*}
    done
}

# places PATH...
# Prints of each that there is: kind and mode (in hex), owner, device, path.
places() {
    stat -c '%f %u %d %n' -- "$@" 2>/dev/null
}

section() {
    echo "== $1"
}

# odd NUMBER PATH
# As places, for a path that does not fit a line: by its number.
odd() {
    found=$(stat -c '%f %u %d' -- "$2" 2>/dev/null) && echo "$1 $found"
}

# link NUMBER PATH
# Prints where a link leads to, after its number; newlines are bytes 1.
link() {
    # The dot keeps newlines at the end of the name.
    target=$(readlink -- "$2" && echo .) || return
    printf '%s ' "$1"
    printf '%s' "${target%??}" | tr '\n' '\001'
    echo
}
