package authorize

import (
	"errors"
	"net"
	"syscall"
)

// peerOf asks the kernel, which remembers who has connected.
func peerOf(conn *net.UnixConn) (p peer, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var askErr error
	err = raw.Control(func(fd uintptr) {
		var cred *syscall.Ucred
		if cred, askErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); askErr == nil {
			p = peer{uid: cred.Uid, gid: cred.Gid}
		}
	})
	return p, errors.Join(err, askErr)
}
