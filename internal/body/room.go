package body

import (
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// lookEvery and lookAfter say when it is looked anew how much is free: after so long,
	// and after so many bytes.
	lookEvery = time.Second
	lookAfter = 1 << 20
)

// Room keeps recordings from filling a file system on which something else must not run
// out of room. The nil Room does not.
type Room struct {
	dir, other string
	keep       int64

	mu    sync.Mutex
	until time.Time
	free  int64 // as of the last look, and what was taken since
	looks int64 // free at which the next look is due
}

// NewRoom keeps so many bytes free of the file system that the directories dir, of
// recordings, and other are on. If they are on different ones, nothing has to be kept
// free. Neither has to be there yet.
func NewRoom(dir, other string, keep int64) *Room { return &Room{dir: dir, other: other, keep: keep} }

// take reports whether there is room for n bytes more.
func (r *Room) take(n int64) bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.After(r.until) || r.free-n < r.looks {
		r.free, r.until = r.look(), now.Add(lookEvery)
		r.looks = r.free - lookAfter
	}
	if r.free-n < r.keep {
		return false
	}
	r.free -= n
	return true
}

// look returns how much is free.
func (r *Room) look() int64 {
	dir, here := nearest(r.dir)
	_, there := nearest(r.other)
	if here == nil || there == nil || !sameFileSystem(here, there) {
		return math.MaxInt64
	}
	return freeBytes(dir)
}

// nearest returns the last directory on the way to dir that is there.
func nearest(dir string) (string, os.FileInfo) {
	for {
		info, err := os.Stat(dir)
		above := filepath.Dir(dir)
		if err == nil || above == dir {
			return dir, info
		}
		dir = above
	}
}
