package wire

import (
	"os"
	"runtime"
)

// createSpill makes the file that takes what a recording does not hold in memory.
// It is readable by this user alone and has no name any more once it is returned:
// when it is closed, or the process dies, it is gone. (A system that does not
// unlink open files keeps the name; closeSpill removes it there.)
func createSpill(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, ".upstream-auth-*")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(file.Name())
	return file, nil
}

// closeSpill ends a file of createSpill. A read or write of it under way still
// ends as it would have.
func closeSpill(file *os.File) {
	_ = file.Close()
	if runtime.GOOS == "windows" {
		_ = os.Remove(file.Name())
	}
}
