package journal

import (
	"errors"
	"os"
	"syscall"
)

const keepSize = 1 // FALLOC_FL_KEEP_SIZE: the room is the file's and not yet part of it.

// reserveRoom makes sure that file can grow to size bytes, as far as the file
// system can tell. One that knows no reservations is as good as one with room.
func reserveRoom(file *os.File, size int64) error {
	for {
		err := syscall.Fallocate(int(file.Fd()), keepSize, 0, size)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
			return os.NewSyscallError("fallocate", err)
		default:
			return nil
		}
	}
}
