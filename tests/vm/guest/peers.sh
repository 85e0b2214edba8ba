# FTP peers, for sourcing.
#   server_start pyftpdlib|vsftpd [NETNS] [ADDR...]   NETNS "-" = the router itself
#   server_stop
#   transfer CLIENT NETNS HOST CASE SECONDS   one download, byte-compared; the reason on stdout
#                                             and status 1 if it fails; several may run at once
# CLIENT: curl | lftp.  CASE: epsv | pasv | eprt | port (HOST says which family).

FTP_ROOT=/run/ftp
SERVER_PID=''

netns_exec() { if [ "$1" = - ]; then shift; "$@"; else ip netns exec "$@"; fi; }

ftp_files() {
    mkdir -p $FTP_ROOT
    [ -e $FTP_ROOT/file ] || head -c 200000 /dev/urandom >$FTP_ROOT/file
    chmod 755 $FTP_ROOT; chmod 644 $FTP_ROOT/file
}

server_start() {
    local kind=$1 netns=${2:-server}
    shift; shift || true
    [ $# -gt 0 ] || set -- 10.0.2.2 fd00:2::2
    server_stop
    server_evict "$netns"
    ftp_files
    case $kind in
    pyftpdlib)
        netns_exec "$netns" /usr/bin/python3 "$REPO/tests/vm/guest/ftp-server.py" $FTP_ROOT "$@" \
            >>"$VM_OUT/pyftpdlib.log" 2>&1 & ;;
    vsftpd)
        # It goes to its user's home before it goes to anon_root, and gives up if there is none.
        mkdir -p /run/vsftpd/empty "$(getent passwd nobody | cut -d: -f6)"
        cat >/run/vsftpd.conf <<CONF
listen_ipv6=YES
background=NO
anonymous_enable=YES
no_anon_password=YES
anon_root=$FTP_ROOT
ftp_username=nobody
seccomp_sandbox=NO
connect_from_port_20=YES
secure_chroot_dir=/run/vsftpd/empty
xferlog_enable=NO
CONF
        netns_exec "$netns" vsftpd /run/vsftpd.conf >>"$VM_OUT/vsftpd.log" 2>&1 & ;;
    esac
    SERVER_PID=$!
    wait_for 60 _serves "$netns" || { echo "server $kind does not listen" >&2; return 1; }
}
# Whoever else has the port; a server that was told to end may wait for its sessions.
server_evict() {
    local pid
    for pid in $(netns_exec "$1" ss -Hltnp 'sport = 21' | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u); do kill -KILL "$pid"; done
}
_serves() { kill -0 $SERVER_PID 2>/dev/null || return 2; _listening "$1"; }
_listening() { netns_exec "$1" ss -Hltn 'sport = 21' | grep -q .; }

server_stop() {
    [ -n "$SERVER_PID" ] || return 0
    kill $SERVER_PID 2>/dev/null; wait $SERVER_PID 2>/dev/null
    SERVER_PID=''
}

transfer() {
    local url client=$1 netns=$2 host=$3 case=$4 seconds=$5 why
    local got=/run/transfer.$BASHPID.got log=/run/transfer.$BASHPID.log
    rm -f $got
    case $host in *:*) url="ftp://[$host]/file" ;; *) url="ftp://$host/file" ;; esac
    _$client "$netns" "$host" "$case" "$seconds" >$log 2>&1
    local status=$?
    { echo "==== $SOURCE $client $host $case"; cat $log; } >>"$VM_OUT/transfers.log"
    if [ $status -ne 0 ]; then
        # What the server refused says more than the client's last word.
        why=$(grep -aoE '^(<|<---) [45][0-9][0-9] .*' $log | grep -av ' 530 ' | tail -n 1 | tr -d '\r')
        [ -n "$why" ] || case $status in
            28|124) why="timed out after $seconds s" ;;
            *)      why=$(grep -av "^took " $log | tail -n 1) ;;
        esac
        echo "${why:-$client status $status}"; return 1
    fi
    # A client that quietly took another command proves nothing about this one.
    local used want=${case^^}
    used=$(grep -aoE '^(>|--->) (EPSV|PASV|EPRT|PORT)' $log | awk '{ print $2 }' | sort -u | tr '\n' ' ')
    if [ "$used" != "$want " ]; then echo "used $used"; return 1; fi
    cmp -s $got $FTP_ROOT/file || { echo "the bytes differ ($(stat -c %s $got 2>/dev/null) of 200000)"; return 1; }
}

_curl() {   # the address in a PASV reply is taken at its word: it is what a helper must translate
    local how
    case $3 in
        epsv) how=() ;;
        pasv) how=(--disable-epsv --no-ftp-skip-pasv-ip) ;;
        eprt) how=(--ftp-port -) ;;
        port) how=(--ftp-port - --disable-eprt) ;;
    esac
    netns_exec "$1" curl -g -v -sS -m "$4" -w "took %{time_total} s\n" "${how[@]}" -o "$got" "$url"
}

_lftp() {
    local passive=on epsv=on
    case $3 in
        pasv) epsv=off ;;
        eprt|port) passive=off ;;
    esac
    netns_exec "$1" timeout "$4" lftp -c "debug 9; set cmd:fail-exit yes; set net:timeout 4; set net:max-retries 1;
        set ftp:ssl-allow no; set ftp:passive-mode $passive; set ftp:prefer-epsv $epsv; set ftp:fix-pasv-address no;
        open -u anonymous,x [$2]; get file -o $got"
}
