# For sourcing: the rules that `cthelperctl rules nft --apply` keeps, and what becomes of their table.
RULES=/var/lib/cthelperd/rules.nft

table() { nft list table inet cthelperd >/dev/null; }
no_table() { ! nft list table inet cthelperd >/dev/null 2>&1 || { echo 'the table is there'; return 1; }; }

# From here on: was there a moment without the table? A transaction that loads the rules anew takes the table away and brings it, in one; so
# what counts is how a transaction ends.
table_watch() {
    stdbuf -oL nft monitor >/run/tables 2>/run/tables.why &
    TABLE_WATCH=$!
    wait_for 10 watching_tables
}
# Only when the kernel's words come does one know that the monitor listens.
watching_tables() { nft 'add table inet watched; delete table inet watched'; sleep 0.2; grep -q watched /run/tables; }
table_stayed() {   # [LOADS]: so many times at least it was loaded anew meanwhile
    sleep 1
    kill $TABLE_WATCH; wait $TABLE_WATCH 2>/dev/null
    awk -v least="${1:-0}" '
        /^delete table inet cthelperd/ { gone = 1 }
        /^add table inet cthelperd/    { gone = 0; loads++ }
        /^# new generation/            { if (gone) away++ }
        END { printf "away %d times, loaded %d times\n", away, loads; exit away > 0 || loads < least }' /run/tables
}

kept() {
    verdict kept-applied cthelperctl rules nft --apply
    verdict kept-file [ -s $RULES ]
    table_watch
    verdict kept-reload systemctl reload cthelperd
    verdict kept-reload-table-stays table_stayed
    verdict kept-stop systemctl stop cthelperd
    verdict kept-stop-no-table wait_for 20 no_table
    verdict kept-stop-keeps-file [ -s $RULES ]
    verdict kept-start systemctl start cthelperd
    # ExecStartPost has ended when the start has.
    verdict kept-start-table table
    verdict kept-start-ftp moves 4 passive
    verdict kept-removed cthelperctl rules nft --remove
    verdict kept-removed-no-table no_table
    verdict kept-removed-no-file [ ! -e $RULES ]
    verdict kept-removed-restart systemctl restart cthelperd
    verdict kept-removed-for-good no_table
    verdict kept-applied-again cthelperctl rules nft --apply
}
