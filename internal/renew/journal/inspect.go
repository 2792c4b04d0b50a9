package journal

import (
	"fmt"
	"os"
	"path/filepath"
)

// FileSystem is what a directory of journals lies on, as far as the system tells.
type FileSystem struct {
	// Name is what it is called; empty if that is not known.
	Name string

	// Remote says that it is another machine's, where a lock tells nothing of the
	// processes of this one.
	Remote bool

	// Volatile says that a restart of the machine empties it.
	Volatile bool
}

// Inspect reports whether journals can be kept in dir: it makes the directory, as the
// first journal would, and a file there, which it locks, writes to the disk and
// removes.
func Inspect(dir string) (FileSystem, error) {
	d := &Disk{dir: filepath.Clean(dir)}
	if err := makeDir(d.dir); err != nil {
		return FileSystem{}, fmt.Errorf("journal: making its directory: %w", err)
	}
	file, err := d.create()
	if err != nil {
		return FileSystem{}, fmt.Errorf("journal: making a file: %w", err)
	}
	defer func() {
		_ = os.Remove(file.Name())
		_ = release(file)
	}()
	if _, err := file.Write(make([]byte, compactSize)); err != nil {
		return FileSystem{}, fmt.Errorf("journal: writing a file: %w", err)
	}
	if err := file.Sync(); err != nil {
		return FileSystem{}, fmt.Errorf("journal: writing a file to the disk: %w", err)
	}
	return fileSystemOf(file), nil
}
