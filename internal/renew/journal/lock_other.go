//go:build !darwin && !dragonfly && !freebsd && !illumos && !linux && !netbsd && !openbsd

package journal

import (
	"errors"
	"fmt"
	"os"
)

// errNoLock is what every attempt to open a journal ends with.
var errNoLock = fmt.Errorf("the journal needs a Unix system, with flock(2): %w", errors.ErrUnsupported)

func tryLock(*os.File) (bool, error) { return false, errNoLock }

func release(file *os.File) error { return file.Close() }
