# Verifying what has been sent, and putting it in place. Wants own.sh, digest.sh.

# begin [strict]
# Comes first; see own for strict.
begin() {
    fastrr_strict=${1-}
    export LC_ALL=C
    choose_hasher
    now
}

# unless_incomplete CONTROL HOLDING...
# Ends, and removes holding directories, if the last file of a stream has not arrived. Sets $scratch.
unless_incomplete() {
    cd /
    scratch=$1
    shift
    if [ ! -e "$scratch/all" ]; then
        echo incomplete
        rm -rf -- "$@"
        exit
    fi
}

# scratch_in DIRECTORY
# Makes a directory for tables, which is removed in the end.
scratch_in() {
    scratch=$(TMPDIR=$1 mktemp -d) || exit 1
    trap 'rm -rf "$scratch"' EXIT
}

# scratch_at DIRECTORY
scratch_at() {
    scratch=$1
    mkdir -m 700 -- "$scratch" || exit 1
}

# table NAME
# Keeps the lines of standard input, "NUMBER DIGEST MODE PATH", and their paths.
table() {
    cat >"$scratch/held-$1"
    cut -d ' ' -f 4- "$scratch/held-$1" | tr '\n' '\0' >"$scratch/names-$1"
}

# make_all DIRECTORY...
make_all() {
    mkdir -p -- "$@"
}

spread() {
    first=$1
    shift
    tee -- "$@" <"$first" >/dev/null
}

odd() {
    found=$($hasher 2>/dev/null <"$4")
    if [ "${found%% *}" = "$2" ]; then
        chmod "$3" "$4"
        # Into a directory of that name (or what a link there leads to) mv would move it; what
        # moves into a directory that is named replaces what has its own name there.
        cd -- "${4%/*}" && mv -f -- "./${4##*/}" "./${5##*/}" && mv -f -- "./${5##*/}" .. ||
            echo "left $1"
    else
        echo "bad $1"
    fi
    rm -f -- "$4" "${4%/*}/${5##*/}"
    cd /
}

move() {
    cd "$1" && shift && mv -f -- "$@" ..
    cd /
}

# move_tree FROM ABOVE TREE
# Puts a tree in place by one rename. Where it can't be, what is to be its directory is made or found,
# for tree_directories and refill.
move_tree() {
    refilling=
    mv -f -- "$1" "$2" 2>/dev/null && return
    settle "$3" && refilling=yes
    true
}

settle() {
    make_own "$1" || {
        printf '%s\n' "$said" >&2
        return 1
    }
}

tree_directories() {
    [ -z "$refilling" ] || mkdir -p -- "$@"
}

refill() {
    [ -n "$refilling" ] || return 0
    cd "$1" || return
    for path in * .[!.]* ..?*; do
        [ -f "$path" ] && printf '%s\0' "$path"
    done | xargs -0 -r sh -c 'mv -f -- "$@" "$0"' "$2/"
    cd /
}

left() {
    [ -d "$1" ] || return 0
    for path in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        [ -f "$path" ] && printf 'left at %s\n' "$path"
    done
}

now() {
    if [ -r /proc/uptime ]; then
        read -r up idle </proc/uptime
        echo "clock $up"
    fi
}

# remove_stale DIRECTORY MINUTES PATTERN
# Removes what runs left in it that were killed so long ago: a process is spent only if there is
# something.
remove_stale() {
    for path in "$1"/$3; do
        # Nobody else's, seen by one look: what is in it may change while it is being removed.
        [ -d "$path" ] &&
            find "$path" -prune -type d -user "$(id -u)" -mmin +"$2" -exec rm -rf -- {} \;
    done 2>/dev/null
    true
}

# remove_all DIRECTORY...
remove_all() {
    rm -rf -- "$@"
}

# verify ALGORITHM COMMON COUNT
# Compares the files of a table with its digests, seen from the directory COMMON: those that are right
# get their permissions; the number of each other is printed, and the file removed.
verify() {
    by=$1 count=$3
    cd -- "$2" || exit 1
    if [ "$by" = xxh128 ]; then
        set -- xxhsum -H2
    else
        # shellcheck disable=SC2086 # some words
        set -- $hasher
    fi
    xargs -0 "$@" <"$scratch/names-$by" | awk -v count="$count" '
        NR == FNR {
            path = substr($0, length($1) + length($2) + length($3) + 4)
            number[path] = $1
            digest[path] = $2
            mode[path] = $3
            rows++
            next
        }
        {
            path = substr($0, length($1) + 3)
            if (!(path in digest) || $1 "" != digest[path] "") next
            if (mode[path] ~ /^[0-7]+$/) {
                print path | ("tr \"\\n\" \"\\0\" | xargs -0 chmod " mode[path] " --")
            }
            delete digest[path]
        }
        END {
            if (rows != count) exit 1
            for (path in digest) {
                print "bad", number[path]
                print path | "tr \"\\n\" \"\\0\" | xargs -0 rm -f --"
            }
        }' "$scratch/held-$by" - || exit 1
    cd /
}

# keyed NUMBER DIGEST MODE PATH
# As verify, for one file and GMAC by $key.
keyed() {
    found=$(openssl mac -cipher AES-128-GCM -macopt hexkey:"$key" \
        -macopt hexiv:000000000000000000000000 -in "$4" GMAC)
    if [ "$found" != "$2" ]; then
        echo "bad $1"
        rm -f -- "$4"
    elif [ "$3" != - ]; then
        chmod "$3" "$4"
    fi
}

# rename_all COMMON HOLDING ALGORITHM...
# Renames the files of tables, which are in holding directories of this name.
rename_all() {
    cd -- "$1" || exit 1
    export fastrr_holding="$2"
    shift 2
    for by; do
        shift
        set -- "$@" "$scratch/names-$by"
    done
    perl -0ne '
        chomp;
        ($to = $_) =~ s{/\Q$ENV{fastrr_holding}\E/(?=[^/]*$)}{/} or next;
        # One that was wrong is there no more.
        next unless -e $_;
        rename $_, $to or print STDERR "$to: $!\n";
    ' -- "$@"
    cd /
}
