# choose_hasher
# Sets $hasher to what prints the SHA-1 of files: openssl, the fastest, if it is there.
choose_hasher() {
    if command -v openssl >/dev/null; then
        hasher='openssl dgst -sha1 -r'
    else
        hasher='sha1sum -b'
    fi
}
