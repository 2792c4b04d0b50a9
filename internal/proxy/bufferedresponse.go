package proxy

import (
	"io"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body"
)

const (
	// bufferedMax is how much of a refused answer's body is read ahead.
	bufferedMax = 64 << 10

	// drainTime is how long a refused answer that is no longer needed may take to
	// come to its end, so that its connection can be used again.
	drainTime = 10 * time.Millisecond
)

// bufferedResponse is an upstream's refusal while we try to do better. Its body is read
// ahead, so that its connection is free for the replay, and recorded, so that it
// can still go to the client whole.
type bufferedResponse struct {
	body io.ReadCloser // the upstream's
	log  *body.Recording
	read chan struct{} // closed when nothing more is read ahead

	// answer is the upstream's but for its body. It has a Trailer of its own, since
	// the body sets the original's when it ends, which it may do at any time.
	answer http.Response
}

// bufferResponse begins to read res's body. One of restore and discard follows.
func bufferResponse(res *http.Response) *bufferedResponse {
	h := &bufferedResponse{body: res.Body, answer: *res, read: make(chan struct{})}
	h.answer.Trailer = make(http.Header, len(res.Trailer))
	maps.Copy(h.answer.Trailer, res.Trailer)
	// The length is left out: of a body beyond the limit, too, the beginning is recorded.
	h.log = body.New(res.Body, &res.Trailer, -1, true, body.Limits{MaxBody: bufferedMax}, slog.New(slog.DiscardHandler))
	ahead := h.log.Restart(nil, nil)
	go func() {
		defer close(h.read)
		_, _ = io.CopyN(io.Discard, ahead, bufferedMax)
	}()
	return h
}

// restore returns the answer as the upstream gave it.
func (h *bufferedResponse) restore() *http.Response {
	if h.body == http.NoBody { // Whoever asks for that by name still finds it.
		h.log.Close()
		return &h.answer
	}
	h.answer.Body = &bufferedBody{Cursor: h.log.Restart(h.answer.Trailer, nil), log: h.log, upstream: h.body}
	h.log.Stop()
	return &h.answer
}

// discard lets go of the answer.
func (h *bufferedResponse) discard() {
	timer := time.NewTimer(drainTime)
	defer timer.Stop()
	select {
	case <-h.read:
	case <-timer.C:
	}
	h.log.Close()
	// HTTP/2's Close waits until the request is written, and that may be waiting
	// for the client.
	go h.body.Close()
}

// bufferedBody is the body of a restored answer.
type bufferedBody struct {
	*body.Cursor
	log      *body.Recording
	upstream io.Closer
}

// Close closes the upstream's body, too.
func (b *bufferedBody) Close() error {
	b.log.Close()
	return b.upstream.Close()
}
