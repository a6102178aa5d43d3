# What computes digests.

# choose_hasher
# Sets $hasher to what prints the SHA-1 of files: openssl, the fastest, if it is there.
choose_hasher() {
    if command -v openssl >/dev/null; then
        hasher='openssl dgst -sha1 -r'
    else
        hasher='sha1sum -b'
    fi
}

# hashers TOOL...
# Prints, after its name, the version of those that are there.
hashers() {
    echo "== hashers"
    for tool; do
        command -v "$tool" >/dev/null || continue
        case $tool in
        openssl) echo "openssl $(openssl version)" ;;
        xxhsum) xxhsum --version 2>&1 | { read -r said && echo "xxhsum $said"; } ;;
        esac
    done
}
