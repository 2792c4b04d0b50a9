//go:build windows || plan9 || solaris || aix || android

package localstore

import "os"

// unlockFile does nothing where locks end with the file.
func unlockFile(*os.File) {}
