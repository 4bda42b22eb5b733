# limits.awk LIMITS.H PAGE.SCD: the page, with the table of the header in place of its line @LIMITS@. So the manual has the
# numbers of the code.

function amount(text,   parts, n, i, part, words) {
    n = split(text, parts, /\+/)
    for (i = 1; i <= n; i++) {
        part = parts[i]
        gsub(/[() ]/, "", part)
        sub(/<<20$/, " MiB", part)
        sub(/<<10$/, " KiB", part)
        words = words (i > 1 ? " + " : "") part
    }
    return words
}

NR == FNR && /^ *X\([a-z_]+, .*\)/ {
    name = value = help = $0
    gsub(/^ *X\(|,.*/, "", name)
    gsub(/_/, "-", name)
    gsub(/^[^,]*, *|, *".*/, "", value)
    gsub(/^[^"]*"|".*/, "", help)
    limits = limits sprintf("*--%s* _n_\n\t%s; otherwise %s.\n\n", name, toupper(substr(help, 1, 1)) substr(help, 2), amount(value))
}
NR == FNR { next }
/^@LIMITS@$/ { printf "%s", limits; swallow = 1; next }
swallow && /^$/ { swallow = 0; next }
{ print }
