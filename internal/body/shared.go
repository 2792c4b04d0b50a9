package body

import "sync/atomic"

// sharedMax is where in a body shared memory ends: what is after it goes to the file,
// so that few large bodies do not take all of it.
const sharedMax = 1 << 20

// SharedMemory is what recordings may hold in memory beyond [Limits.Memory], all of them
// together, before they go on in a file. It spares bodies that are not large the file,
// as long as not too many of them are under way. The nil SharedMemory has none.
type SharedMemory struct {
	free atomic.Int64 // in chunks
}

// NewSharedMemory returns one of so many bytes.
func NewSharedMemory(bytes int64) *SharedMemory {
	m := new(SharedMemory)
	m.free.Store(bytes / largeChunk)
	return m
}

// take takes a large chunk's worth for the bytes of a body from offset on, if that is to
// be and there is as much.
func (m *SharedMemory) take(offset int64) bool {
	if m == nil || offset >= sharedMax {
		return false
	}
	if m.free.Add(-1) < 0 {
		m.free.Add(1)
		return false
	}
	return true
}

// give gives a chunk's worth back.
func (m *SharedMemory) give() { m.free.Add(1) }
