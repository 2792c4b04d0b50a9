package body

import (
	"io"
	"maps"
	"net/http"
	"sort"
)

// Cursor reads a recording from its start: the body of one attempt to send the
// request. Read is called by one goroutine at a time, Close by any.
type Cursor struct {
	log *Recording

	// trailer is the attempt's own map of trailers. It is filled with the client's,
	// after clean (if not nil) has taken out what may not be sent, before the Read
	// that reports the end returns. That is when net/http's transport looks at it.
	trailer http.Header
	clean   func(http.Header)

	// Guarded by log.mu.
	offset int64
	closed bool
}

// Read returns what is recorded, then takes from the client. Its errors are the
// client's as they came, and those of a body whose start is gone or that was closed.
func (c *Cursor) Read(p []byte) (int, error) {
	r := c.log
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, http.ErrBodyReadAfterClose
		case c.offset < r.end:
			return c.recorded(p)
		case r.err != nil:
			return 0, c.ended()
		case len(p) == 0:
			return 0, nil
		case r.taking:
			r.wake.Wait()
		default:
			if n := r.take(c, p); n > 0 && !c.closed {
				return n, c.endedAt(r.end)
			}
		}
	}
}

// recorded copies what the log has at the cursor.
func (c *Cursor) recorded(p []byte) (int, error) {
	r := c.log
	n := 0
	switch {
	case r.chunkAt(c.offset) != nil:
		n = copy(p, r.chunkAt(c.offset).from(c.offset))
	case r.file != nil && c.offset >= r.memoryEnd && c.offset < r.fileEnd:
		var err error
		if n, err = c.readFile(p); err != nil {
			return 0, err
		}
	default:
		return 0, ErrGone
	}
	c.offset += int64(n)
	r.trim()
	return n, c.endedAt(c.offset)
}

// endedAt returns how the body ended, if it ended at offset.
func (c *Cursor) endedAt(offset int64) error {
	if offset == c.log.end && c.log.err != nil {
		return c.ended()
	}
	return nil
}

// readFile reads at the cursor without the lock. The file may be closed meanwhile:
// then the cursor is, too, or the error says so.
func (c *Cursor) readFile(p []byte) (int, error) {
	r := c.log
	file, at := r.file, c.offset-r.memoryEnd
	p = p[:min(int64(len(p)), r.fileEnd-c.offset)]
	r.mu.Unlock()
	n, err := file.ReadAt(p, at)
	r.mu.Lock()
	switch {
	case c.closed:
		return 0, http.ErrBodyReadAfterClose
	case n < len(p) && err == io.EOF:
		return 0, io.ErrUnexpectedEOF // The file is short, the body is not.
	case n < len(p):
		return 0, err
	}
	return n, nil
}

// ended returns how the body ended, and fills the attempt's trailers if it ended well.
func (c *Cursor) ended() error {
	r := c.log
	if r.err == io.EOF && c.trailer != nil { //nolint:errorlint // the end of a Reader is never wrapped
		clear(c.trailer)
		maps.Copy(c.trailer, r.trailer)
		if c.clean != nil {
			c.clean(c.trailer)
		}
		c.trailer = nil // Once: the transport may be reading the map by now.
	}
	return r.err
}

// Close ends the cursor. A Read that waits for somebody else's read of the client
// returns at once; one that is itself reading the client returns when that has
// ended, with nothing, and leaves what it got in the log. The client's body stays
// open: it is its server's to close.
func (c *Cursor) Close() error {
	r := c.log
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	for i, open := range r.cursors {
		if open == c {
			last := len(r.cursors) - 1
			r.cursors[i], r.cursors[last] = r.cursors[last], nil
			r.cursors = r.cursors[:last]
			break
		}
	}
	r.trim()
	r.wake.Broadcast()
	return nil
}

// chunkAt returns the chunk in memory that has the byte at offset, nil if none has.
func (r *Recording) chunkAt(offset int64) *chunk {
	for _, chunks := range [][]*chunk{r.memory, r.newest} {
		i := sort.Search(len(chunks), func(i int) bool { return chunks[i].end() > offset })
		if i < len(chunks) && chunks[i].from(offset) != nil {
			return chunks[i]
		}
	}
	return nil
}
