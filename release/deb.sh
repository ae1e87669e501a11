#!/usr/bin/env bash
# A Debian package out of a wheel: deb.sh WHEEL OUTPUT_DIRECTORY. The program has an environment of its own in
# /opt/agentic-watch, for the Python of the release that this runs on; nothing else of the host's Python is used.
# $WHEELS may name a directory that all dependencies come from; without it they are fetched.
set -euo pipefail

wheel=$(realpath "${1:?usage: deb.sh WHEEL OUTPUT_DIRECTORY}")
output=$(realpath "${2:?usage: deb.sh WHEEL OUTPUT_DIRECTORY}")
source=$(cd "$(dirname "$0")/.." && pwd)
pip=${PIP:-"$source/.venv/bin/pip"}
version=$(basename "$wheel" | cut -d- -f2)
python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
umask 022

opt=$tree/opt/agentic-watch
mkdir -p "$opt"
/usr/bin/python3 -m venv --without-pip "$opt"
# With every extra: nobody can add one to an environment that belongs to a package.
"$pip" --python "$opt/bin/python" install --quiet --disable-pip-version-check --no-compile --no-warn-script-location \
    ${WHEELS:+--no-index --find-links "$WHEELS"} "$wheel[dashboard,fleet,mcp,metrics]"
# The environment was made where it does not stay. The other programs that came with libraries are nobody's business.
find "$opt/bin" -type f ! -name agentic-watch ! -name 'python*' -delete
sed -i "s|$opt|/opt/agentic-watch|g" "$opt/bin/agentic-watch" "$opt/pyvenv.cfg"
find "$opt" -name direct_url.json -delete
# Man and the shells look in places of their own.
manual=$tree/usr/share/man/man1/agentic-watch.1.gz
install -d "${manual%/*}" "$tree"/usr/share/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
gzip -9n < "$opt/share/man/man1/agentic-watch.1" > "$manual"
rm -r "$opt/share"
program() { "$opt/bin/python" -B -I -m agentic_watch "$@"; }
program completion bash > "$tree/usr/share/bash-completion/completions/agentic-watch"
program completion zsh > "$tree/usr/share/zsh/vendor-completions/_agentic-watch"
program completion fish > "$tree/usr/share/fish/vendor_completions.d/agentic-watch.fish"
# Bytecode is dpkg's like all else, so that a removal leaves nothing; it is never stale, and tells no place of the build.
find "$opt/lib" -name __pycache__ -type d -prune -exec rm -rf {} +
PYTHONDONTWRITEBYTECODE=1 "$opt/bin/python" -m compileall -q -f -j 0 -s "$tree" --invalidation-mode unchecked-hash "$opt/lib"
! grep -rl "$tree" "$opt" || { echo "deb.sh: the place of the build is left in these files" >&2; exit 1; }

install -d "$tree"/usr/bin "$tree"/usr/share/doc/agentic-watch "$tree"/etc/agentic-watch "$tree"/DEBIAN
ln -s /opt/agentic-watch/bin/agentic-watch "$tree/usr/bin/agentic-watch"
"$opt/bin/python" -B -I "$source/release/units.py" "$source/release/debian/config.toml" "$opt/bin/agentic-watch" "$tree"
install -m 644 "$source"/{config.example.toml,README.md,CHANGELOG.md} "$tree/usr/share/doc/agentic-watch/"
install -m 644 "$source/LICENSE" "$tree/usr/share/doc/agentic-watch/copyright"
install -m 644 "$source/release/debian/config.toml" "$tree/etc/agentic-watch/"

echo /etc/agentic-watch/config.toml > "$tree/DEBIAN/conffiles"
install -m 755 "$source"/release/debian/{postinst,prerm,postrm} "$tree/DEBIAN/"
architecture=all
[ -z "$(find "$opt" -name '*.so' -print -quit)" ] || architecture=$(dpkg --print-architecture)
sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@PYTHON@/$python/" \
    -e "s/@NEXT_PYTHON@/${python%.*}.$((${python#*.} + 1))/; s/@SIZE@/$(du -sk --exclude DEBIAN "$tree" | cut -f1)/" \
    "$source/release/debian/control" > "$tree/DEBIAN/control"
(cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum > DEBIAN/md5sums)
dpkg-deb --root-owner-group -Zzstd -z9 --build "$tree" "$output/agentic-watch_${version}_$architecture.deb"
