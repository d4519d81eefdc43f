# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# For scripts that source it: apt, without touching the machine's own configuration
# or needing root. They have vmdir, the directory of this file, and say.

: "${vmdir:?}"

# Options that keep lists, cache and downloads of an apt call in our directory.
apt_area()
{
	local dir=$1

	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	apt_opts=(-qq
		-o "Dir::State::Lists=$dir/lists"
		-o "Dir::Cache=$dir/cache"
		-o "APT::Sandbox::User="
		-o "Acquire::Retries=3"
		-o "Acquire::Languages=none")
	if [ -s "$dir/suite.sources" ]; then
		apt_opts+=(-o "Dir::Etc::SourceList=$dir/suite.sources"
			-o "Dir::Etc::SourceParts=/dev/null"
			-o "Dir::State::Status=/dev/null")
	fi
}

# The machine's own sources and its lists as they are.
apt_machine()
{
	apt_opts=(-qq -o "APT::Sandbox::User=" -o "Acquire::Retries=3")
}

# Write the machine's entry for its own Debian release with another suite in
# its place, so mirror, keys and options stay what the machine uses.
apt_derive_suite()
{
	local suite=$1 out=$2 codename parts list

	# shellcheck source=/dev/null
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	[ -n "$codename" ] || {
		say "cannot tell this system's release from /etc/os-release"
		return 1
	}
	eval "$(apt-config shell list Dir::Etc::sourcelist/f parts Dir::Etc::sourceparts/d)"
	find "$list" "$parts" -maxdepth 1 \
		\( -name '*.list' -o -name '*.sources' \) -type f -print 2>/dev/null |
	sort |
	while IFS= read -r file; do
		awk -v codename="$codename" -v suite="$suite" \
			-v deb822="$([ "${file%.sources}" != "$file" ] && echo 1)" \
			-f "$vmdir/apt-suite.awk" "$file"
	done |
	awk 'NR > 1 && /^Types:/ { exit } { print }' > "$out.tmp"
	[ -s "$out.tmp" ] || {
		rm -f "$out.tmp"
		say "no entry for $codename main in $list or $parts to derive $suite from"
		return 1
	}
	mv "$out.tmp" "$out"
}

apt_update()
{
	say "fetching package lists"
	apt-get "${apt_opts[@]}" update >&2
}

# Print "version" of a package's candidate, or fail.
candidate()
{
	apt-cache "${apt_opts[@]}" --no-all-versions show "$1" 2>/dev/null |
		awk '/^Version: / && !seen++ { print $2 } END { exit !seen }'
}

# Print the packages that $1 depends on, one "name version" a line.
depends()
{
	apt-cache "${apt_opts[@]}" --no-all-versions show "$1" 2>/dev/null |
		sed -n 's/^Depends: //p' | tr ',' '\n' |
		sed -E 's/\|.*//; s/^ *([^ ]+)( *\([<>=]* *([^)]*)\))?.*/\1 \3/'
}

# Download packages, given as name=version, into directory $1.
download()
{
	local dir=$1
	shift
	(cd "$dir" && apt-get "${apt_opts[@]}" download "$@" >&2)
}
