# Making directories, and removing them again. Wants own.sh.
#
# Each of anew, first, made, held is for one directory, after its number; it prints "NUMBER WHY" where
# the directory can't be made. Where "stop" is printed, nothing else has been made.

failed() {
    printf '%s %s' "$1" "$2" | tr '\n' ' '
    echo
}

anew() {
    said=$(mkdir -m 700 -- "$2" 2>&1) || {
        failed "$1" "$said"
        stop=yes
    }
}

first() {
    # Before anything is made in it: in a directory like /tmp somebody else may have been quicker.
    [ -k "${2%/*}/" ] || return 0
    make_own "$2" || {
        failed "$1" "$said"
        stop=yes
    }
}

made() {
    [ -d "$2" ] || said=$(mkdir -p -- "$2" 2>&1) || failed "$1" "$said"
}

held() {
    # It may have been made just now, with others that could not be. Whose it is does not matter:
    # it is empty, its name was ours to use; and not all file systems show us as its owner.
    rmdir -- "$2" 2>/dev/null
    said=$(mkdir -m 700 -- "$2" 2>&1) && return
    if [ -e "$2" ] || [ -L "$2" ]; then
        echo "taken $1 $(ls -ld -- "$2" 2>&1 | tr '\n' ' ')"
    else
        failed "$1" "$said"
    fi
}

stop_or_go() {
    [ -z "$stop" ] || {
        echo stop
        exit 0
    }
}

# make_all DIRECTORY...
make_all() {
    mkdir -p -- "$@" 2>/dev/null
    true
}

# hold_all NUMBER DIRECTORY...
# Makes holding directories, numbered from NUMBER; one by one where not all could be made.
hold_all() {
    number=$1
    shift
    mkdir -m 700 -- "$@" 2>/dev/null && return
    for path; do
        held "$number" "$path"
        number=$((number + 1))
    done
}

# remove_until_gone DIRECTORY...
# Removes those of them that are ours, until nothing comes back any more, for a while; fails if things
# go on coming.
remove_until_gone() {
    tries=0
    while remove_ours "$@" && [ "$tries" -lt 10 ]; do
        tries=$((tries + 1))
        sleep 0.3 2>/dev/null || sleep 1
    done
    [ "$tries" -lt 10 ]
}

remove_ours() {
    found=
    for path; do
        # It may not be known whether it is.
        if [ -e "$path" ] && own "$path"; then
            rm -rf -- "$path" 2>/dev/null
            found=yes
        fi
    done
    [ -n "$found" ]
}

# discard DIRECTORY
discard() {
    own "$1" && rm -rf -- "$1"
    true
}
