//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package journal

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the exclusive lock on file unless somebody has it: another process,
// or this one, which opened the file another time. The lock ends when the last
// descriptor from this opening is closed; programs that this one starts inherit
// none, as package os sets O_CLOEXEC.
func tryLock(file *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, os.NewSyscallError("flock", err)
		}
	}
}

// release gives up the lock, if file has it, and closes file. To close it is not
// enough: a child between fork and exec still has the descriptor.
func release(file *os.File) error {
	_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
	return file.Close()
}
