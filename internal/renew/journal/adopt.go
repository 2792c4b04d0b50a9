package journal

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Adopt implements [Directory].
func (d *Disk) Adopt() (adopted []Adopted, left []*FileError, err error) {
	entries, err := os.ReadDir(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		path := filepath.Join(d.dir, entry.Name())
		if strings.HasSuffix(path, unnamedSuffix) {
			sweep(path)
			continue
		}
		id := idOf(entry.Name())
		if id == nil {
			continue
		}
		f, err := d.adopt(path, id)
		switch {
		case err != nil:
			left = append(left, err)
		case f != nil:
			adopted = append(adopted, f)
		}
	}
	return adopted, left, nil
}

// adopt takes over the file at path. It returns nil if its process lives, if
// somebody else has it, or if there was nothing to do for it.
func (d *Disk) adopt(path string, id []byte) (*file, *FileError) {
	open, err := lockNamed(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	if open == nil {
		return nil, nil
	}
	s, c, err := read(d.key, id, open)
	if err != nil {
		_ = release(open)
		left := fileError(path, err)
		if errors.Is(err, ErrDamaged) {
			left.Answered = c.pending.answered()
		}
		return nil, left
	}
	f := &file{
		disk: d, id: hex.EncodeToString(id), file: open, out: open, sealer: s,
		pending: c.pending, seq: c.seq, size: c.size, torn: c.torn,
	}
	if len(f.pending) == 0 {
		if err := f.Close(); err != nil {
			return nil, fileError(path, err)
		}
		return nil, nil
	}
	return f, nil
}

// sweep removes what a process left that died before it gave its file a name.
func sweep(path string) {
	file, err := lockNamed(path)
	if err != nil || file == nil {
		return
	}
	_ = os.Remove(path)
	_ = release(file)
}

// lockNamed opens the file at path and locks it. It returns nil if somebody else
// has the lock or the file is gone.
func lockNamed(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	locked, err := tryLock(file)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	// Whoever had the lock until now may have removed the file or put another in
	// its place. From here on nobody does.
	if !locked || !isNamed(file, path) {
		_ = release(file)
		return nil, nil
	}
	return file, nil
}
