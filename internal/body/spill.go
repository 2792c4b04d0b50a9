package body

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
)

// createSpill makes the file that takes what a recording does not hold in memory.
// It is readable by this user alone and has no name any more once it is returned:
// when it is closed, or the process dies, it is gone. (A system that does not
// unlink open files keeps the name; closeSpill removes it there.) A directory that
// is not there is made, for this user alone.
func createSpill(dir string) (*os.File, error) {
	const pattern = ".upstream-auth-*"
	file, err := os.CreateTemp(dir, pattern)
	if errors.Is(err, fs.ErrNotExist) {
		// Below /run it is gone after each start of the machine.
		if err = os.MkdirAll(dir, 0o700); err == nil {
			file, err = os.CreateTemp(dir, pattern)
		}
	}
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
