# SPDX-License-Identifier: GPL-2.0-only
#
# From an apt source file, print as a deb822 stanza the entry for the release
# "codename", component main, with "suite" in its place. deb822 says which of
# apt's two formats the file is in.

function has(list, word,	n, i, words)
{
	n = split(list, words, /[ \t\n]+/)
	for (i = 1; i <= n; i++)
		if (words[i] == word)
			return 1
	return 0
}

function flush_stanza(	i)
{
	if (has(field["types"], "deb") && has(field["suites"], codename) &&
	    has(field["components"], "main") && field["enabled"] !~ /no|false|0/) {
		print "Types: deb"
		print "Suites: " suite
		print "Components: main"
		for (i = 1; i <= nr_fields; i++)
			if (name[i] !~ /^(types|suites|components|enabled|architectures)$/)
				print text[i]
	}
	nr_fields = 0
	split("", field)
}

# One-line format: deb [option=value ...] URI SUITE COMPONENT...
function one_line(line,	options, n, i, words, pair, key)
{
	sub(/#.*/, "", line)
	if (line !~ /^[ \t]*deb[ \t]/)
		return
	sub(/^[ \t]*deb[ \t]+/, "", line)
	options = ""
	if (line ~ /^\[/) {
		options = line
		sub(/\].*/, "", options)
		sub(/^\[[ \t]*/, "", options)
		sub(/^[^]]*\][ \t]*/, "", line)
	}
	n = split(line, words, /[ \t]+/)
	if (n < 3 || words[2] != codename)
		return
	sub(/^[^ \t]+[ \t]+[^ \t]+/, "", line)
	if (!has(line, "main"))
		return
	print "Types: deb"
	print "URIs: " words[1]
	print "Suites: " suite
	print "Components: main"
	n = split(options, words, /[ \t]+/)
	for (i = 1; i <= n; i++) {
		if (split(words[i], pair, "=") != 2)
			continue
		key = pair[1]
		if (key == "signed-by")
			print "Signed-By: " pair[2]
		else if (key == "trusted")
			print "Trusted: " pair[2]
	}
}

!deb822 {
	one_line($0)
	next
}

/^#/ { next }

/^[ \t]*$/ {
	flush_stanza()
	next
}

/^[ \t]/ {
	text[nr_fields] = text[nr_fields] "\n" $0
	field[name[nr_fields]] = field[name[nr_fields]] "\n" $0
	next
}

{
	colon = index($0, ":")
	nr_fields++
	name[nr_fields] = tolower(substr($0, 1, colon - 1))
	text[nr_fields] = $0
	field[name[nr_fields]] = substr($0, colon + 1)
}

END {
	if (deb822)
		flush_stanza()
}
