# Whether a directory is ours, at the moment of its use: what was planted after the check.

# make_own DIRECTORY
# Makes it, or finds it made by us or root; else says in $said what is the matter.
make_own() {
    said=$(mkdir -- "$1" 2>&1) || own "$1" || {
        if [ -e "$1" ] || [ -L "$1" ]; then
            said="somebody else has made it: $(ls -ld -- "$1" 2>&1)"
        fi
        return 1
    }
}

# own PATH
# What is at an absolute path is ours or root's, or in no sticky directory; $fastrr_strict (not empty):
# ours or root's wherever it is. By one lstat(2): between two looks, as by -O and -L, others can exchange
# what is theirs.
own() {
    [ -n "${fastrr_strict-}" ] || [ -k "${1%/*}/" ] || return 0
    # shellcheck disable=SC2046 # some words
    set -- $(LC_ALL=C ls -ldn -- "$1" 2>/dev/null)
    [ "${3:-}" = 0 ] || [ "${3:-}" = "$(id -u)" ]
}
