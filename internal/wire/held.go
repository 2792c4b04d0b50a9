package wire

import (
	"io"
	"log/slog"
	"maps"
	"net/http"
	"time"
)

const (
	// heldBodyMax is how much of a refused answer's body is read ahead.
	heldBodyMax = 64 << 10

	// drainTime is how long a refused answer that is no longer needed may take to
	// come to its end, so that its connection can be used again.
	drainTime = 10 * time.Millisecond
)

// heldAnswer is an upstream's refusal while we try to do better. Its body is read
// ahead, so that its connection is free for the replay, and recorded, so that it
// can still go to the client whole.
type heldAnswer struct {
	body io.ReadCloser // the upstream's
	log  *recording
	read chan struct{} // closed when nothing more is read ahead

	// answer is the upstream's but for its body. It has a Trailer of its own, since
	// the body sets the original's when it ends, which it may do at any time.
	answer http.Response
}

// hold begins to read res's body. One of restore and discard follows.
func hold(res *http.Response) *heldAnswer {
	h := &heldAnswer{body: res.Body, answer: *res, read: make(chan struct{})}
	h.answer.Trailer = make(http.Header, len(res.Trailer))
	maps.Copy(h.answer.Trailer, res.Trailer)
	// The length is left out: of a body beyond the limit, too, the beginning is recorded.
	h.log = newRecording(res.Body, &res.Trailer, -1, true, Limits{MaxBody: heldBodyMax}, slog.New(slog.DiscardHandler))
	ahead := h.log.restart(nil, nil)
	go func() {
		defer close(h.read)
		_, _ = io.CopyN(io.Discard, ahead, heldBodyMax)
	}()
	return h
}

// restore returns the answer as the upstream gave it.
func (h *heldAnswer) restore() *http.Response {
	if h.body == http.NoBody { // Whoever asks for that by name still finds it.
		h.log.close()
		return &h.answer
	}
	clean := func(trailer http.Header) { removeOurs(trailer) }
	h.answer.Body = &heldBody{cursor: h.log.restart(h.answer.Trailer, clean), upstream: h.body}
	h.log.stop()
	return &h.answer
}

// discard lets go of the answer.
func (h *heldAnswer) discard() {
	timer := time.NewTimer(drainTime)
	defer timer.Stop()
	select {
	case <-h.read:
	case <-timer.C:
	}
	h.log.close()
	// HTTP/2's Close waits until the request is written, and that may be waiting
	// for the client.
	go h.body.Close()
}

// heldBody is the body of a restored answer.
type heldBody struct {
	*cursor
	upstream io.Closer
}

// Close closes the upstream's body, too.
func (b *heldBody) Close() error {
	b.log.close()
	return b.upstream.Close()
}
