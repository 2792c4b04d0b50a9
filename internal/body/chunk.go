package body

import (
	"sync"

	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
)

// Two sizes of chunks: most bodies fit the small one; the large one takes as much in one
// read as a busy connection has.
const (
	smallChunk = 4 << 10
	largeChunk = 64 << 10
)

// chunk is a stretch of a recording in memory. Chunks are shared by all requests
// one after the other, so nothing of the one before may be seen by the next: only
// the first n bytes are ever handed out, n starts at 0 and grows by no more than
// the client's body says it has just written there.
type chunk struct {
	start  int64 // offset in the body of buf[0]
	n      int   // how many bytes of buf are the body's
	buf    []byte
	shared *SharedMemory // where it is counted, if anywhere

	account budget.Account // the same
}

var (
	smallChunks = sync.Pool{New: func() any { return &chunk{buf: make([]byte, smallChunk)} }}
	largeChunks = sync.Pool{New: func() any { return &chunk{buf: make([]byte, largeChunk)} }}
)

// TestHook is told of the memory of each chunk that is taken (+1) and given back (-1).
var TestHook func(buf []byte, taken int)

// newChunk takes an empty chunk for the bytes from start on. It has room for size
// bytes or, if there are none as large, for fewer.
func newChunk(start, size int64) *chunk {
	pool := &largeChunks
	if size <= smallChunk {
		pool = &smallChunks
	}
	c := pool.Get().(*chunk)
	c.start, c.n, c.buf = start, 0, c.buf[:min(size, int64(cap(c.buf)))]
	if TestHook != nil {
		TestHook(c.buf, +1)
	}
	return c
}

// free gives c back. Nobody reads or writes it any more.
func (c *chunk) free() {
	if c.shared != nil {
		c.shared.give()
		c.shared = nil
	}
	c.buf = c.buf[:cap(c.buf)]
	c.account.Give(budget.Memory, int64(len(c.buf)))
	c.account = budget.Account{}
	if TestHook != nil {
		TestHook(c.buf, -1)
	}
	if len(c.buf) == smallChunk {
		smallChunks.Put(c)
	} else {
		largeChunks.Put(c)
	}
}

// end is the offset in the body of the byte after the last that c has.
func (c *chunk) end() int64 { return c.start + int64(c.n) }

// from returns the bytes that c has from offset on.
func (c *chunk) from(offset int64) []byte {
	if offset < c.start || offset >= c.end() {
		return nil
	}
	return c.buf[offset-c.start : c.n]
}

// room returns the part of c that is not filled yet.
func (c *chunk) room() []byte { return c.buf[c.n:] }
