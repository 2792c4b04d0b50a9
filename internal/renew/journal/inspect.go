package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
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

	// Exposed says which mode, of the directory or of a journal in it, gives too much to
	// others; empty: none.
	Exposed string
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
	system := fileSystemOf(file)
	system.Exposed, err = exposed(d.dir)
	return system, err
}

// exposed looks for modes that let others write to the directory, or read what is in a
// journal.
func exposed(dir string) (string, error) {
	if runtime.GOOS == "windows" {
		return "", nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", fmt.Errorf("journal: looking at its directory: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Sprintf("it has mode %04o", mode), nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("journal: looking at its directory: %w", err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || idOf(entry.Name()) == nil {
			continue // gone meanwhile, or not ours
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			return fmt.Sprintf("%s has mode %04o", entry.Name(), mode), nil
		}
	}
	return "", nil
}
