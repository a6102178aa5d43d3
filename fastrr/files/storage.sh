# Where files can go. Wants facts.sh and the variables that facts sets; ways.sh.

# temporary
# Prints whether anything can be made in the temporary directory.
temporary() {
    echo "== tmp"
    look "$tmp"
    seen=
    echo "== directories"
}

# look_for_space DIRECTORY
# Prints what look does; and collects in $seen, a line each, where free space is to be asked.
look_for_space() {
    look "$1"
    [ "$kind" = good ] || return 0
    case $newline$seen in
    *"$newline$p$newline"*) ;;
    *) seen=$seen$p$newline ;;
    esac
}

# ways PATH...
# Prints what is on the way to home, state, screens, tmp; and at the paths, which are all that there
# is on the way to others.
ways() {
    ways=
    way "$home"
    way "$state"
    way "$screens"
    way "$tmp"
    printf '%s\n' "== screens" "$screens" "== ways"
    (
        IFS=$newline
        set -f
        # shellcheck disable=SC2086 # a line each
        places / $ways "$@"
    )
    true
}

# many_places EACH
# As places, for paths on standard input.
many_places() {
    "$1" stat -c '%f %u %d %n' -- 2>/dev/null
}

# many_places_and_space EACH
# As many_places; and prints the free space of each file system, and of what is behind each link.
many_places_and_space() {
    typed=T
    df -PTk / >/dev/null 2>&1 || typed=
    export each_df="tr '\n' '\0' | xargs -0 df -P${typed}k --"
    many_places "$1" | awk '
        { print }
        $1 ~ /^a...$/ || ($1 ~ /^4...$/ && !($3 in seen)) {
            seen[$3]
            one[++count] = substr($0, length($1) + length($2) + length($3) + 4)
        }
        END {
            print "== space"
            for (i = 1; i <= count; i++) print one[i]
            print "== df"
            fflush()
            for (i = 1; i <= count; i++) print one[i] | ENVIRON["each_df"]
        }' 2>/dev/null
}

# space
# Prints the free space of all that $seen has.
space() {
    echo "== space"
    printf '%s' "$seen"
    echo "== df"
    (
        IFS=$newline
        set -f
        # shellcheck disable=SC2086 # a line each
        df -PTk -- $seen 2>/dev/null || df -Pk -- $seen 2>/dev/null
    )
    true
}
