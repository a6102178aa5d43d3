# What is at destinations. Wants facts.sh and the variables that facts sets; digest.sh.
#
# Of files on standard input, EACH is each_word where all of their names are plain, else each_line.

# describing HASHING
# Sets what describe and inspect print of a file: $format, of whole seconds where stat knows no
# other or nothing is hashed anyway; and $hashing (true or false) and $hasher.
describing() {
    hashing=$1
    format='%f %s %.9Y %.9Z %i %d'
    if "$hashing"; then
        case $(stat -c %.9Y / 2>/dev/null) in
        *.?????????) ;;
        *) format='%f %s %Y %Z %i %d' ;;
        esac
    fi
    choose_hasher
}

# inspect NUMBER SIZE PATH
# Prints two lines of a file that may be a link, or have any name: its number and where it leads to,
# and its description with the digest, if it has the size.
inspect() {
    number=$1 size=$2 target=$3 link=
    if [ -L "$3" ]; then
        # The dot keeps newlines at the end of the name.
        target=$(readlink -f -- "$3" && echo .) || target=
        target=${target%??}
        link=$(printf '%s' "$target" | tr '\n' '\001')
    fi
    printf '%s %s\n' "$number" "$link"
    if [ -z "$target" ]; then
        echo "broken"
    elif found=$(stat -c "$format" -- "$target" 2>/dev/null); then
        digest=
        case $hashing:$found in
        "true:8"???" $size "*) digest=$($hasher 2>/dev/null <"$target") ;;
        esac
        echo "$found ${digest%% *}"
    else
        echo "missing"
    fi
}

# odd_files
# Comes before the files that are inspected, if any are.
odd_files() {
    cd -- "$home" && echo "== followed"
}

# follow
# As odd_files, where there are no facts.
follow() {
    cd 2>/dev/null || cd /
    describing false
    echo "== followed"
}

# enter DIRECTORY TITLE...
# Where there is no such directory there are no files: prints the sections, all empty. No directory
# is where we are.
enter() {
    [ -n "$1" ] || return 0
    cd -- "$1" 2>/dev/null && return
    shift
    for title; do
        echo "== $title"
    done
    return 1
}

# list_files DIRECTORY EACH
# Prints one digest of all that stat says of the files on standard input.
list_files() {
    enter "$1" files followed || return 0
    echo "== listing"
    if command -v sha1sum >/dev/null; then
        hasher='sha1sum -b' # for so little it is quicker
    fi
    "$2" stat -c "$format %n" -- 2>/dev/null | $hasher
}

# look_at_files DIRECTORY EACH
# Prints what stat says of the files on standard input, but for their content.
look_at_files() {
    enter "$1" named || return 0
    echo "== named"
    "$2" stat -c "$format %n" -- 2>/dev/null
    true
}

now() {
    if [ -r /proc/uptime ]; then
        read -r up idle </proc/uptime
        echo "$up"
    fi
}

# compare_files DIRECTORY
# For lines "NUMBER SIZE KNOWN PATH" on standard input: prints "NUMBER DESCRIPTION [DIGEST]" of each
# file that there is, the digest where it has the size and does not look as KNOWN says. Prints how
# long that took, and what list_files prints.
compare_files() {
    enter "$1" files followed || return 0
    if ! command -v mktemp >/dev/null; then
        # That it is missing is told by the list of tools, if the answer has all its parts.
        printf '%s\n' "== files" "== followed"
        return
    fi
    # Nobody else may exchange what is in it, which the check is yet to find out (ways.py).
    private=$home
    if is_private "$tmp"; then
        private=$tmp
    fi
    scratch=$(TMPDIR=$private mktemp -d 2>/dev/null || TMPDIR=$home mktemp -d) || exit 1
    trap 'rm -rf "$scratch"' EXIT
    cat >"$scratch/wanted"
    : >"$scratch/links"
    : >"$scratch/same"
    : >"$scratch/digests"
    {
        echo "$scratch/wanted"
        sed 's/^[^ ]* [^ ]* [^ ]* //' "$scratch/wanted"
    } | tr '\n' '\0' | xargs -0 stat -c "$format %n" -- >"$scratch/found" 2>/dev/null
    awk -v links="$scratch/links" -v same="$scratch/same" '
        FILENAME ~ /wanted$/ {
            path = substr($0, length($1) + length($2) + length($3) + 4)
            number[path] = $1
            size[path] = $2
            known[path] = $3
            next
        }
        {
            path = $0
            for (i = 0; i < 6; i++) path = substr(path, index(path, " ") + 1)
            if ($1 ~ /^a...$/) print number[path], size[path], path >links
            else if ($1 !~ /^8...$/ || ($2 "") != (size[path] "")) next
            else if ($3 "/" $4 "/" $5 "/" $6 != known[path]) print path >same
        }' "$scratch/wanted" "$scratch/found"
    if [ -s "$scratch/same" ]; then
        echo "== hashing"
        now
        # shellcheck disable=SC2086 # some words
        tr '\n' '\0' <"$scratch/same" | xargs -0 $hasher >"$scratch/digests" 2>/dev/null
        now
    fi
    echo "== listing"
    sed 1d "$scratch/found" | $hasher
    echo "== files"
    awk '
        FILENAME ~ /wanted$/ {
            number[substr($0, length($1) + length($2) + length($3) + 4)] = $1
            next
        }
        FILENAME ~ /digests$/ { digest[substr($0, 43)] = $1; next }
        {
            path = $0
            for (i = 0; i < 6; i++) path = substr(path, index(path, " ") + 1)
            if (!(path in number)) number[path] = "clock"
            print number[path], $1, $2, $3, $4, $5, $6, digest[path]
        }' "$scratch/wanted" "$scratch/digests" "$scratch/found"
    echo "== followed"
    while IFS= read -r line; do
        path=${line#* }
        inspect "${line%% *}" "${path%% *}" "${path#* }"
    done <"$scratch/links"
}
