#!/bin/busybox sh
# The first program of a Linux guest: what a shell needs, then the shell, whose end is the guest's.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo
echo "This is Linux $(uname -r), with $(nproc) CPU(s). exit or poweroff -f ends the guest, reboot -f begins it again."
# In a session of its own, so that Ctrl-C reaches what runs in it.
setsid -c sh -i < /dev/ttyAMA0 > /dev/ttyAMA0 2>&1
poweroff -f
