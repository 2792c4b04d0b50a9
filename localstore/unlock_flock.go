//go:build !windows && !plan9 && !solaris && !aix && !android

package localstore

import (
	"os"
	"syscall"
)

// unlockFile gives up the lock that bbolt took on file. To close it is not enough where
// bbolt panicked before it could undo its memory mapping, which keeps the lock alive.
func unlockFile(file *os.File) { _ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN) }
