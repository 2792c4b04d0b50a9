package body

import (
	"math"
	"os"
	"syscall"
)

func sameFileSystem(a, b os.FileInfo) bool {
	one, ok := a.Sys().(*syscall.Stat_t)
	other, too := b.Sys().(*syscall.Stat_t)
	return ok && too && one.Dev == other.Dev
}

// freeBytes is how much this process can still write to the file system of dir.
func freeBytes(dir string) int64 {
	var stat syscall.Statfs_t
	if syscall.Statfs(dir, &stat) != nil {
		return math.MaxInt64
	}
	return int64(stat.Bavail) * int64(stat.Bsize) //nolint:gosec,unconvert // no file system is as large; the types differ by architecture
}
