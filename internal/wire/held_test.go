package wire

import (
	"bytes"
	"io"
	"net/http"
	"reflect"
	"testing"
	"testing/synctest"
)

// upstreamBody is a response's body as net/http's transport makes one: it sets the
// trailers when it ends, on whatever goroutine reads it.
type upstreamBody struct {
	io.Reader
	res    *http.Response
	closed chan struct{}
}

func (b *upstreamBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.res.Trailer["X-Sum"] = []string{"1"}
		b.res.Trailer[HeaderError] = []string{"forged"}
	}
	return n, err
}

func (b *upstreamBody) Close() error {
	close(b.closed)
	return nil
}

func heldResponse(body []byte) (*http.Response, *upstreamBody) {
	res := answer(401)
	b := &upstreamBody{Reader: bytes.NewReader(body), res: res, closed: make(chan struct{})}
	res.Body, res.Trailer = b, http.Header{"X-Sum": nil}
	return res, b
}

func TestRestoredAnswerIsWhole(t *testing.T) {
	for _, size := range []int{0, 100, heldBodyMax - 1, heldBodyMax, heldBodyMax + 1, 300_000} {
		body := randomBytes(size)
		upstream, closes := heldResponse(body)
		held := hold(upstream)
		<-held.read
		if size > heldBodyMax && held.log.end != heldBodyMax {
			t.Errorf("%d of %d bytes were read ahead", held.log.end, size)
		}
		res := held.restore()
		if !reflect.DeepEqual(res.Trailer, http.Header{"X-Sum": nil}) {
			t.Errorf("announced %v", res.Trailer)
		}
		mustRead(t, res.Body, body)
		if !reflect.DeepEqual(res.Trailer, http.Header{"X-Sum": {"1"}}) {
			t.Errorf("trailers %v", res.Trailer)
		}
		if len(held.log.memory) > 0 {
			t.Error("what was read is kept")
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
		<-closes.closed
	}
}

func TestDiscardedAnswerIsReadToItsEndIfThatIsNear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream, closes := heldResponse(nil)
		near := newGate()
		closes.Reader = near
		held := hold(upstream)
		go func() {
			near.answers <- []byte("refused")
			near.answers <- io.EOF
		}()
		held.discard()
		if len(near.asked) != 2 {
			t.Errorf("%d reads", len(near.asked))
		}
		<-closes.closed
	})
}
