"""hold.py HOST: an FTP session whose data connection stays open; says when it does."""
import ftplib
import sys
import time

ftp = ftplib.FTP(timeout=20)
ftp.connect(sys.argv[1])
ftp.login()
data = ftp.transfercmd("RETR file")
data.recv(1)
print("transferring", flush=True)
time.sleep(120)
