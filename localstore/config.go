package localstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Config says where a [Store] keeps its documents.
type Config struct {
	// The file with the credentials. It and the directory it lies in are made if they
	// do not exist, for their owner alone. Required.
	Path string `json:"path,omitempty"`

	// The file with the key that credentials are sealed with: 32 random
	// bytes in base64 (RFC 4648 section 4), on one line. It must not be accessible
	// to group or others. A new database makes it if it does not exist; an existing
	// one is useless without it, so keep a copy where no copy of the database is.
	// Several databases may share one. Required.
	KeyFile string `json:"key_file,omitempty"`
}

// Validate reports what is wrong with c that shows without a look at the disk.
func (c Config) Validate() error {
	if err := checkPath("path", c.Path); err != nil {
		return err
	}
	if err := checkPath("key_file", c.KeyFile); err != nil {
		return err
	}
	if filepath.Clean(c.Path) == filepath.Clean(c.KeyFile) {
		return errors.New("path and key_file are the same file")
	}
	return nil
}

func checkPath(setting, path string) error {
	if path == "" {
		return fmt.Errorf("%s is missing", setting)
	}
	base := filepath.Base(path)
	if base == "." || base == ".." || os.IsPathSeparator(path[len(path)-1]) || strings.ContainsRune(path, 0) {
		return fmt.Errorf("%s names no file", setting)
	}
	return nil
}
