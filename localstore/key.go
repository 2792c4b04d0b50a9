package localstore

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

const (
	keySize = 32
	// maxKeyFile is the size of the largest file that is looked at for a key: one
	// takes 44 bytes and a line's end.
	maxKeyFile = 256
)

// errWritable says that others than its owner can change the key file.
var errWritable = errors.New("can be written by group or others")

// readKey returns the key in the file at path.
func readKey(path string) ([]byte, error) {
	// Looked at before it is opened, which would wait for ever on a pipe.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	// Containers mount secrets readable for all in the container; who may write
	// the key can make us seal with one of his own.
	if mode := info.Mode().Perm(); mode&0o022 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s %w (mode %04o): make it 0600", path, errWritable, mode)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.Strict().DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) != keySize || len(text) > maxKeyFile {
		// Without err, which quotes from the file.
		return nil, fmt.Errorf("%s does not hold a key: want %d bytes in base64", path, keySize)
	}
	return key, nil
}

// makeKey writes a new random key to a file at path, unless there is one. It is
// complete and on the disk by the time it has its name, so that neither another
// process nor one that starts after a crash ever sees a part of it.
func makeKey(path string) (err error) {
	key := make([]byte, keySize)
	rand.Read(key)
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, ".new-key-") // 0600
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, os.Remove(file.Name()))
	}()
	_, err = file.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); errors.Is(err, fs.ErrExist) {
		return nil // Somebody else was faster: theirs it is.
	} else if err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in a directory survive power loss.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // Directories cannot be synced there.
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
