package body

import (
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"sync"

	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
)

// Recording is the body of one client's request, as far as it has come in: an
// append-only log that any number of cursors read, one for each attempt to send
// the request. A cursor that has read all there is takes more from the client, and
// what it takes is in the log before it is handed out.
//
// One read of the client is under way at a time. It is made by the cursor that needs
// it, on its caller's goroutine and without the lock; who else needs bytes waits for the
// outcome. So there is no goroutine to start or to end: an attempt that is given up while
// its read is under way leaves behind what net/http's transport leaves behind anyway, a
// blocked Read of the client, whose bytes end in the log for the next attempt.
//
// What is recorded in memory is read into memory that the log owns, as much at a time as
// there is, and copied to the cursor's caller. What goes to the file, or is not recorded,
// is read into the caller's own memory.
//
// While a recording is whole the log goes back to the first byte. It is no longer
// whole once the body is found too long, once the file fails, and when it is
// stopped; from then on it holds what was recorded so far until the open cursors
// are past it, and of what comes after that only the newest read, if there is a cursor
// that has not seen it.
type Recording struct {
	source        io.Reader    // the client's body
	sourceTrailer *http.Header // set by source in the Read that ends it
	length        int64        // as announced by the client; 0 or -1 if it was not
	limits        Limits
	logger        *slog.Logger

	mu        sync.Mutex // never held while anything blocks
	wake      sync.Cond  // a read of the client has ended, or a cursor has
	whole     bool
	lost      SkipReason  // why it is not whole
	spent     error       // the [budget.Error] that lost is OverBudget for
	memory    []*chunk    // the first bytes, memoryEnd of them
	memoryEnd int64       // does not change once there is a file
	file      *os.File    // those after them, up to fileEnd
	fileEnd   int64       // 0: none yet
	newest    []*chunk    // what the last read of the client gave, if that is nowhere else
	asked     bool        // the client was asked for some of it
	taking    bool        // a read of the client is under way
	filling   *chunk      // where in memory it puts its bytes, if it does
	end       int64       // how many bytes were taken from the client
	err       error       // how the body ended: io.EOF, or the client's error as it came
	trailer   http.Header // the client's trailer, if err is io.EOF
	cursors   []*Cursor   // the open ones
	closed    bool

	// For what most requests have: one chunk, one attempt, and one cursor at a time.
	oneChunk  [1]*chunk
	oneCursor [1]*Cursor
	first     Cursor // the first attempt's
}

var (
	// ErrGone is the answer to who wants to begin a body whose start is not held
	// any more, so that no upstream takes the rest for the whole.
	ErrGone = errors.New("upstream_auth: the start of the request body is gone")

	errNoRoom error = &budget.Error{What: "recorded bytes on the disk", Total: true}

	errBadRead = errors.New("upstream_auth: the request body returned an impossible count from Read")
)

// New begins the recording of a body of length bytes, 0 or -1 if that is
// not known. With record false, and if length exceeds the limit, it is not whole from
// the start.
func New(source io.Reader, trailer *http.Header, length int64, record bool, limits Limits, logger *slog.Logger) *Recording {
	r := &Recording{source: source, sourceTrailer: trailer, length: length, limits: limits, logger: logger, whole: true}
	r.wake.L = &r.mu
	r.memory, r.cursors = r.oneChunk[:0], r.oneCursor[:0]
	switch {
	case !record:
		r.whole, r.lost = false, NotRecorded
	case length > limits.MaxBody:
		r.whole, r.lost = false, TooLarge
	}
	return r
}

// Restart ends all cursors and opens one at the start, for a new attempt. The
// attempts before it have no right to the body any more: their readers are sent
// away, or leave once the read of the client that they are in has ended.
//
// The attempt's trailers are filled in trailer, see [Cursor].
func (r *Recording) Restart(trailer http.Header, clean func(http.Header)) *Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.first
	if c.log != nil {
		c = new(Cursor)
	}
	*c = Cursor{log: r, trailer: trailer, clean: clean}
	r.supersede(c)
	return c
}

// Rewind makes sure that what Restart returns next can read the whole body, whatever a
// read of the client still brings to light: if the recording is whole, or the client was
// not asked for any of it yet. Else Rewind does nothing and says why.
func (r *Recording) Rewind() SkipReason {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.whole && r.asked {
		return r.lost
	}
	r.supersede(&Cursor{log: r})
	return ""
}

// supersede puts c in the place of all cursors.
func (r *Recording) supersede(c *Cursor) {
	for _, before := range r.cursors {
		before.closed = true
	}
	clear(r.cursors)
	r.cursors = r.cursors[:0]
	r.add(c)
	r.trim()
	r.wake.Broadcast()
}

// Open returns another cursor at the start. The other cursors stay.
func (r *Recording) Open(trailer http.Header, clean func(http.Header)) *Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &Cursor{log: r, trailer: trailer, clean: clean}
	r.add(c)
	return c
}

func (r *Recording) add(c *Cursor) {
	if c.closed = r.closed; !c.closed {
		r.cursors = append(r.cursors, c)
	}
}

// IsWhole reports whether the recording is whole.
func (r *Recording) IsWhole() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.whole
}

// Asked reports whether the client was asked for some of the body. A client that waits for
// that (`Expect: 100-continue`) has been told by its server to go on.
func (r *Recording) Asked() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// whyLost returns why the recording is not whole, "" if it is, and the budget that is
// spent if it is for that.
func (r *Recording) whyLost() (lost SkipReason, spent error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost == OverBudget {
		spent = r.spent
	}
	return r.lost, spent
}

// Stop ends the recording: there will be no further attempt. Open cursors stream on.
func (r *Recording) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lose(NotRecorded)
}

// Close ends the recording and its cursors. It does not wait for a read of the
// client that is under way; that read, when it ends, gives back the last chunk.
func (r *Recording) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.supersede(&Cursor{log: r})
	r.lose(NotRecorded)
}

// lose makes the recording not whole, for the first reason given.
func (r *Recording) lose(reason SkipReason) {
	if r.whole {
		r.whole, r.lost = false, reason
	}
	r.trim()
}

// trim frees what no open cursor will read again, unless the recording is whole.
func (r *Recording) trim() {
	if r.whole {
		return
	}
	needed := int64(math.MaxInt64)
	for _, c := range r.cursors {
		needed = min(needed, c.offset)
	}
	r.memory = r.freeBefore(r.memory, needed)
	if r.file != nil && r.fileEnd <= needed {
		closeSpill(r.file)
		r.limits.Account.Give(budget.Disk, r.fileEnd-r.memoryEnd)
		r.file = nil
	}
	r.newest = r.freeBefore(r.newest, needed)
}

// freeBefore gives back the chunks that end at offset or before, and returns the rest.
func (r *Recording) freeBefore(chunks []*chunk, offset int64) []*chunk {
	for len(chunks) > 0 && chunks[0] != r.filling && chunks[0].end() <= offset {
		chunks[0].free()
		chunks[0] = nil
		chunks = chunks[1:]
	}
	return chunks
}

// take reads the client once, for c, and records what it gets. If that is not in memory it
// is in p, and n says how much it is. take is called, and returns, with the lock held, but
// reads without it. Nobody else is reading the client, and c is at the end of what was
// read of it.
func (r *Recording) take(c *Cursor, p []byte) (n int) {
	last := r.lastChunk()
	room := p
	if last != nil {
		room = last.room()
	}
	r.asked, r.taking, r.filling = true, true, last
	r.mu.Unlock()

	n, err := r.source.Read(room)
	if n < 0 || n > len(room) {
		n, err = 0, errBadRead
	}
	var trailer http.Header
	if err == io.EOF {
		trailer = r.sourceTrailer.Clone()
	}

	r.mu.Lock()
	taken := room[:n]
	if last != nil {
		last.n += n
		r.memoryEnd += int64(n)
		taken = nil
	} else if r.whole {
		r.spill(taken)
	}
	r.end += int64(n)
	r.err, r.trailer = err, trailer
	r.taking, r.filling = false, nil
	if last == nil && !c.closed {
		c.offset = r.end
	}
	if !r.whole {
		r.keepNewest(taken)
	}
	r.trim()
	r.wake.Broadcast()
	return len(taken)
}

// lastChunk returns a chunk in memory with room for what comes next, or nil if that is not
// to be in memory.
func (r *Recording) lastChunk() *chunk {
	if !r.whole || r.fileEnd > 0 {
		return nil
	}
	if len(r.memory) > 0 {
		if last := r.memory[len(r.memory)-1]; len(last.room()) > 0 {
			return last
		}
	}
	var c *chunk
	if own := r.limits.memory() - r.memoryEnd; own > 0 {
		c = newChunk(r.memoryEnd, min(own, r.nextChunk()))
	} else if left := r.limits.MaxBody - r.memoryEnd; left > 0 && r.limits.Shared.take(r.memoryEnd) {
		c = newChunk(r.memoryEnd, min(left, largeChunk))
		c.shared = r.limits.Shared
	} else {
		return nil
	}
	if r.spent = r.limits.Account.Take(budget.Memory, int64(cap(c.buf))); r.spent != nil {
		c.free()
		return nil
	}
	c.account = r.limits.Account
	r.memory = append(r.memory, c)
	return c
}

// nextChunk is the size of the next chunk in memory. For a body of unknown length
// the first is small: more often than not the body is, too.
func (r *Recording) nextChunk() int64 {
	if r.end == 0 && r.length <= smallChunk {
		return smallChunk
	}
	return largeChunk
}

// keepNewest keeps b, the last bytes of what was read, which are not recorded, for the
// open cursors that have not seen them.
func (r *Recording) keepNewest(b []byte) {
	r.newest = r.freeBefore(r.newest, math.MaxInt64)
	for _, c := range r.cursors {
		for c.offset < r.end && len(b) > 0 {
			next := newChunk(r.end-int64(len(b)), largeChunk)
			next.n = copy(next.buf, b)
			r.newest = append(r.newest, next)
			b = b[next.n:]
		}
	}
}

// spill appends b, the bytes at r.end, to the file, if they are still within the limit.
// Like take, which calls it, it works without the lock.
func (r *Recording) spill(b []byte) {
	if len(b) == 0 {
		return
	}
	if r.end+int64(len(b)) > r.limits.MaxBody {
		r.lose(TooLarge)
		return
	}
	size, account := int64(len(b)), r.limits.Account
	if r.limits.Dir == "" {
		r.lose(OverBudget) // for memory
		return
	}
	if r.spent = account.Take(budget.Disk, size); r.spent != nil {
		r.lose(OverBudget)
		return
	}
	if !r.limits.Room.take(size) {
		account.Give(budget.Disk, size)
		r.spent = errNoRoom
		r.lose(OverBudget)
		return
	}
	file := r.file
	r.mu.Unlock()
	var err error
	if file == nil {
		file, err = createSpill(r.limits.Dir)
	}
	if err == nil {
		_, err = file.WriteAt(b, r.end-r.memoryEnd)
	}
	if err != nil && !errors.Is(err, os.ErrClosed) {
		r.logger.Warn("request body cannot be recorded", "error", err)
	}
	r.mu.Lock()
	switch {
	case err == nil && r.whole:
		r.file, r.fileEnd = file, r.end+int64(len(b))
		return
	case r.file == nil && file != nil:
		closeSpill(file)
	}
	account.Give(budget.Disk, size)
	r.lose(Failed)
}

// Held is how many bytes are held, in memory and in the file.
func (r *Recording) Held() (bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, chunks := range [][]*chunk{r.memory, r.newest} {
		for _, c := range chunks {
			bytes += int64(c.n)
		}
	}
	if r.file != nil {
		bytes += r.fileEnd - r.memoryEnd
	}
	return bytes
}

// Copy writes the whole body to w: it waits for the client's last byte. It ends early if
// the body cannot be sent any more once it is read, and says why; the error is a
// [budget.Error] then, if it is one budget or another. Else it is the client's.
func (r *Recording) Copy(w io.Writer) (lost SkipReason, err error) {
	if lost, err := r.whyLost(); lost != "" {
		return lost, err // Nothing is asked of the client in vain.
	}
	c := r.Open(nil, nil)
	defer func() { _ = c.Close() }()
	buffer := newChunk(0, largeChunk)
	defer buffer.free()
	for {
		n, err := c.Read(buffer.buf)
		_, _ = w.Write(buffer.buf[:n])
		if lost, err := r.whyLost(); lost != "" {
			return lost, err
		}
		switch {
		case err == io.EOF: //nolint:errorlint // the end of a Reader is never wrapped
			return "", nil
		case err != nil:
			return "", err
		}
	}
}
