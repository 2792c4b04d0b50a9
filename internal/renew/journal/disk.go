package journal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// A file has its name, with journalSuffix, once it is complete and locked. One
// with unnamedSuffix is on the way there or, if nobody has its lock, garbage.
const (
	journalSuffix = ".journal"
	unnamedSuffix = ".journal.new"
)

// Disk is the [Directory] on a disk.
type Disk struct {
	// Room, if not nil, is for how many claims a file keeps room on the disk at least, as far as
	// there is any: for those that are under way, and to go on while others fill the disk.
	Room *atomic.Int64

	dir string
	key []byte
}

// Reserve is what is kept free on the disk for one claim, in bytes.
const Reserve = reserve

var _ Directory = (*Disk)(nil)

// NewDisk returns the directory dir, whose journals are sealed under key: [KeySize]
// random bytes, the same for all who are to adopt each other's. It touches no
// disk. The directory is made when it is needed, for its owner alone. Processes
// with other keys may use the same one.
func NewDisk(dir string, key []byte) (*Disk, error) {
	switch {
	case dir == "":
		return nil, errors.New("journal: no directory is given")
	case len(key) != KeySize:
		return nil, fmt.Errorf("journal: the key has %d bytes, not %d", len(key), KeySize)
	}
	return &Disk{dir: filepath.Clean(dir), key: append([]byte(nil), key...)}, nil
}

// Open implements [Directory].
func (d *Disk) Open() (Journal, error) {
	if err := makeDir(d.dir); err != nil {
		return nil, fmt.Errorf("journal: making its directory: %w", err)
	}
	id := make([]byte, idSize)
	_, _ = rand.Read(id) // Never fails.
	f := &file{disk: d, id: hex.EncodeToString(id), compactAt: compactSize}
	renamed, err := f.write(nil)
	if err != nil {
		if renamed {
			_ = f.Close() // Which removes it.
		}
		return nil, fmt.Errorf("journal: making a file: %w", err)
	}
	return f, nil
}

func (d *Disk) path(id string) string { return filepath.Join(d.dir, id+journalSuffix) }

// idOf returns the id in a file's name, nil if it has none.
func idOf(name string) []byte {
	digits, ok := strings.CutSuffix(name, journalSuffix)
	id, err := hex.DecodeString(digits)
	if !ok || err != nil || len(id) != idSize || digits != strings.ToLower(digits) {
		return nil
	}
	return id
}

// create makes a new file and locks it. It has a name that nobody adopts, so that
// none is ever seen without its owner's lock under one that somebody does.
func (d *Disk) create() (*os.File, error) {
	for {
		file, err := os.OpenFile(filepath.Join(d.dir, rand.Text()+unnamedSuffix), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		locked, err := tryLock(file)
		if err != nil {
			_ = os.Remove(file.Name())
			_ = file.Close()
			return nil, err
		}
		if locked && isNamed(file, file.Name()) {
			return file, nil
		}
		// Somebody who sweeps was faster with the lock, and removes the file.
		_ = release(file)
	}
}

// sync makes sure that names in the directory are on the disk.
func (d *Disk) sync() error { return syncDir(d.dir) }

// makeDir makes dir and what is missing above it, on the disk.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// isNamed reports whether path is the name of the file that is open.
func isNamed(file *os.File, path string) bool {
	open, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(open, named)
}
