# The real peers of the record protocols, for sourcing: rpcbind, NFS version 3, saned, amandad; and their clients. records-server.py has
# what is scripted. Whatever a client does is bounded by RECORDS_SECONDS, so that a source that does not help costs seconds.

RECORDS_PIDS=()
# Not empty: with NFS, too, which takes Debian's nfs-kernel-server and nfs-common.
RECORDS_NFS=${RECORDS_NFS:-}
# What NFS exports and Amanda backs up.
RECORDS_FILES=/run/records-files
RECORDS_PEERS=$REPO/target/vm/peers
# 74 kB, colourful.
SCAN=(--mode Color --resolution 100 -x 40 -y 40 --test-picture 'Color pattern')

records_peers() {
    mkdir -p $RECORDS_RUN/sane /run/rpcbind $RECORDS_FILES
    # A kernel exports what can be found again by number: tmpfs, not the guest's overlay.
    mount -t tmpfs tmpfs $RECORDS_FILES && head -c 200000 /dev/urandom >$RECORDS_FILES/file && chmod -R a+rX $RECORDS_FILES || return
    # Datagrams are answered from the address that was asked: rpcbind and the programs have one each.
    ip netns exec server rpcbind -f -i >>"$VM_OUT/rpcbind.log" 2>&1 & RECORDS_PIDS+=($!)
    _amanda_files
    ip netns exec server /usr/bin/python3 "$REPO/tests/vm/guest/records-server.py" 10.0.2.2 fd00:2::2 /usr/lib/amanda/amandad \
        >"$VM_OUT/records-server.log" 2>&1 & RECORDS_PIDS+=($!)
    printf '%s\n' test >$RECORDS_RUN/sane/dll.conf
    printf '%s\n' 10.0.0.0/8 '[fd00::]/16' >$RECORDS_RUN/sane/saned.conf
    SANE_CONFIG_DIR=$RECORDS_RUN/sane ip netns exec server saned -l -D >>"$VM_OUT/saned.log" 2>&1 & RECORDS_PIDS+=($!)
    SANE_CONFIG_DIR=$RECORDS_RUN/sane scanimage -d test:0 "${SCAN[@]}" >$RECORDS_RUN/image 2>/dev/null
    wait_for 60 grep -q ready "$VM_OUT/records-server.log" || { echo 'the record peers did not come up' >&2; return 1; }
    wait_for 10 _saned_listens || { echo 'saned does not listen' >&2; return 1; }
    [ -z "$RECORDS_NFS" ] || _nfs_server >>"$VM_OUT/nfs.log" 2>&1 || { echo 'NFS does not serve (nfs.log)' >&2; return 1; }
}
_saned_listens() { ip netns exec server ss -Hltn 'sport = 6566' | grep -q . || return 1; }

records_peers_stop() {
    local pid
    [ -z "$RECORDS_NFS" ] || ip netns exec server sh -c 'mount -t nfsd nfsd /proc/fs/nfsd && rpc.nfsd 0'
    for pid in "${RECORDS_PIDS[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in $(ip netns pids server); do kill "$pid" 2>/dev/null; done
    RECORDS_PIDS=()
}

# ---- RPC ----------------------------------------------------------------------------------------

# rpcinfo: what it prints tells whether the program itself has answered. It blocks all signals but SIGKILL while it connects.
_records_rpcinfo() {   # transport host program
    local said
    said=$(ip netns exec client timeout -s KILL $RECORDS_SECONDS rpcinfo -T $1 $2 $3 1 2>&1)
    case $said in *"ready and waiting"*) echo ok ;; *) echo "${said:-timed out}" | tail -n 1 ;; esac
}

# The kernel's NFS server, in the server's network namespace: all of it in one mount namespace, where nfsd's own file system is.
_nfs_server() {
    modprobe -a nfsd nfs nfsv3
    ip netns exec server sh -ec "
        mount -t nfsd nfsd /proc/fs/nfsd
        exportfs -o rw,fsid=1,insecure,no_root_squash,no_subtree_check '*:$RECORDS_FILES'
        rpc.nfsd --no-nfs-version 4 2
        rpc.mountd --no-nfs-version 4"
}

# Nothing but rpcbind tells the client where mountd and nfsd are. `nolock`: a lock would be granted by a call to the client.
# A mount is some twenty calls one after the other, which alone take a second here, beside all the other cases up to 18.
_records_nfs() {   # 4|6 host mountproto
    local six='' host=$2 said folder=$RECORDS_RUN/nfs$1 seconds=$((RECORDS_SECONDS * 5))
    [ $1 = 4 ] || { six=6; host="[$2]"; }
    mkdir -p $folder
    said=$(ip netns exec client timeout -s KILL $seconds sh -c "
        mount -t nfs -o vers=3,nolock,soft,retry=0,timeo=20,retrans=1,proto=tcp$six,mountproto=$3$six '$host:$RECORDS_FILES' $folder &&
        cmp $folder/file $RECORDS_FILES/file && umount $folder && echo ok" 2>&1)
    echo "${said:-timed out}" | tail -n 1
}
# One after the other: two mounts of one server would share a connection.
_records_nfs_both() {   # 4|6 host folder
    local mountproto
    [ -n "$RECORDS_NFS" ] || return 0
    for mountproto in udp tcp; do _records_nfs $1 $2 $mountproto >$3/rpc-nfs-mount$mountproto$1; done
}

# ---- SANE ---------------------------------------------------------------------------------------

_records_scan() {   # 4|6 host
    local folder=$RECORDS_RUN/client$1 said
    mkdir -p $folder
    echo net >$folder/dll.conf
    printf 'connect_timeout = %s\n%s\n' $RECORDS_SECONDS "$2" >$folder/net.conf
    local host=$2
    case $host in *:*) host="[$host]" ;; esac
    said=$(SANE_CONFIG_DIR=$folder ip netns exec client timeout -k 1 $((RECORDS_SECONDS * 2)) \
        scanimage -d "net:$host:test:0" "${SCAN[@]}" 2>&1 >$folder/image)
    if [ -s $RECORDS_RUN/image ] && cmp -s $folder/image $RECORDS_RUN/image; then echo ok
    else echo "${said:-the image differs}" | tail -n 1; fi
}

# ---- Amanda -------------------------------------------------------------------------------------

# As Debian's packages lay it out; runtar becomes root to read what it backs up, ambind to take a low port. Who may ask is known by name.
_amanda_files() {
    local lib=usr/lib/x86_64-linux-gnu/amanda
    mkdir -p /usr/lib/amanda /$lib /tmp/amanda
    cp "$RECORDS_PEERS"/usr/lib/amanda/{amandad,sendbackup,runtar,ambind} /usr/lib/amanda/
    cp "$RECORDS_PEERS/$lib"/*.so /$lib/
    cp "$RECORDS_PEERS/usr/sbin/amservice" /usr/sbin/
    cp "$RECORDS_PEERS/etc/amanda-security.conf" /etc/
    chown root:root /etc/amanda-security.conf /usr/lib/amanda/* /usr/sbin/amservice
    chmod 4755 /usr/lib/amanda/{runtar,ambind}
    printf '10.0.1.2 backup-server\n10.0.2.254 router\n10.0.2.2 backup-client\n10.0.1.254 router-inside\n' >>/etc/hosts
    printf '%s\n' 'backup-server root amdump' 'router root amdump' >/var/backups/.amandahosts
    install -d -o backup -g backup -m 770 /var/log/amanda /var/lib/amanda /var/lib/amanda/gnutar-lists /tmp/amanda
    install -o backup -g backup /dev/null /var/lib/amanda/amandates
    chown backup:backup /var/backups /var/backups/.amandahosts
    chmod 600 /var/backups/.amandahosts
    # Each program asks it for the distribution's name, which takes seconds here.
    [ ! -e /usr/bin/lsb_release ] || mount --bind /bin/true /usr/bin/lsb_release
}

# A whole backup over the four streams; it has ended when the last message says so. The client waits for more until it is told to end.
_records_backup() {   # host
    local folder=$RECORDS_RUN/backup pid
    for pid in $(ip netns pids server); do
        ! grep -q amandad /proc/$pid/comm 2>/dev/null || kill "$pid"   # of the round before
    done
    rm -rf $folder; mkdir $folder; mkfifo $folder/nothing
    printf '<dle><program>GNUTAR</program><disk>%s</disk><level>0</level><auth>BSD</auth><record>NO</record><index>YES</index></dle>\n' \
        $RECORDS_FILES >$folder/request
    ip netns exec client amservice -o client_port=10080 -f $folder/request --stream DATA,3,13 --stream MESG,4,14 --stream INDEX,5,15 \
        --stream STATE,6,16 $1 bsd sendbackup >$folder/said 2>&1 3<>$folder/nothing 4<>$folder/nothing 5<>$folder/nothing 6<>$folder/nothing \
        13>$folder/DATA 14>$folder/MESG 15>$folder/INDEX 16>$folder/STATE &
    pid=$!
    wait_for $((RECORDS_SECONDS * 2)) _backup_ended $pid $folder
    kill $pid 2>/dev/null; wait $pid 2>/dev/null
    if tar -xOf $folder/DATA ./file 2>/dev/null | cmp -s - $RECORDS_FILES/file && grep -qx /file $folder/INDEX && grep -q '^sendbackup: end' $folder/MESG
    then echo ok
    else echo "$(grep -v '^$' $folder/said | tail -n 1 | cut -c 1-100), $(stat -c %s $folder/DATA) bytes of the backup came"; fi
    cp -r /var/log/amanda "$VM_OUT/" 2>/dev/null
}
_backup_ended() {   # pid folder
    grep -q '^sendbackup: end' $2/MESG && return 0
    kill -0 $1 2>/dev/null || return 2
    return 1
}
